"""Resharding at rest: a restore point's chains become the bases of another number of shards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ps.buckets import dense_owner, even_shard_map
from ps.errors import SpecError
from ps.store.chains import ChainReader
from ps.store.combine import check_aligned, combined_head
from ps.store.commit import ShardChain
from ps.store.left_out import LeftOut
from ps.store.ownership import BucketRange, bucket_ranges
from ps.store.rebase import Source, rebase

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from ps.block import Block, Cursor
    from ps.store.commit import Commit
    from ps.store.location import Location
    from ps.stream import Positions


def reshard_bases(
    location: Location,
    commit: Commit,
    shards: int,
    at: Cursor,
    *,
    memory_bytes: int,
    leave_out: Collection[str] = (),
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[tuple[ShardChain, ...], int]:
    """Write one base for each of so many shards, all at cursor `at`: their chains, and the bytes.

    No shard is built: rows go from section to section, so memory_bytes bounds it as it does
    compaction (ps.store.rebase). at: an epoch and generation that no file of the store has yet, since
    shard 0 of the new shards is another than shard 0 of the old. shards: may be as many as there are,
    which writes new bases of what is there. leave_out: tables, slots (TABLE.SLOT) and dense variables
    left behind, to start afresh. on_progress: called with the bytes written so far, and about how many there will be.

    Raises SpecError where the commit's shards stand at different positions, or have sealed nothing;
    else as compact() does.
    """
    if shards != len(commit.shards):
        check_aligned(commit)
    models = {commit.at.generation: commit.model}
    chains = [ChainReader(location, chain, models) for chain in commit.shards]
    left_out = LeftOut(leave_out)
    heads = [left_out.block(head) for head in (c.head() for c in chains) if head is not None]
    if len(heads) < len(chains):
        raise SpecError("a shard of this restore point has sealed nothing; use a later one")
    about_bytes = 0 if on_progress is None else sum(chain.size_bytes() for chain in chains)
    writing = _Writing(
        location, chains, heads, at, memory_bytes, left_out, on_progress, about_bytes
    )
    if shards == len(chains):
        places = [chain.chain.positions for chain in chains]
    else:
        places = [commit.positions] * shards
    for shard, positions in enumerate(places):
        writing.write(shard, shards, positions)
    made = (ShardChain(shard, at, (), dict(there)) for shard, there in enumerate(places))
    return tuple(made), writing.written_bytes


@dataclass(slots=True)
class _Writing:
    """What all the new bases are made of."""

    location: Location
    chains: Sequence[ChainReader]
    heads: Sequence[Block]
    at: Cursor
    memory_bytes: int
    left_out: LeftOut
    on_progress: Callable[[int, int], None] | None
    about_bytes: int
    written_bytes: int = 0

    def write(self, shard: int, shards: int, positions: Positions) -> None:
        """The base of one of so many shards."""
        own = bucket_ranges(shards)[shard]
        shared = {
            number: BucketRange(max(own.first, old.first), min(own.end, old.end))
            for number, old in enumerate(bucket_ranges(len(self.chains)))
            if old.touches(own)
        }
        shard_map = even_shard_map(shards)
        head = combined_head(
            self.heads,
            shard,
            self.at,
            positions,
            owns_dense=lambda name: dense_owner(name, shard_map) == shard,
            filters_of=[self.heads[number] for number in shared],
        )
        self.written_bytes += rebase(
            self.location,
            [Source(self.chains[number], *buckets) for number, buckets in shared.items()],
            shard,
            self.at,
            lambda _: head,
            memory_bytes=self.memory_bytes,
            left_out=self.left_out,
            on_section=self._tell,
        )

    def _tell(self, written_bytes: int) -> None:
        if self.on_progress is not None:
            done = self.written_bytes + written_bytes
            self.on_progress(done, max(done, self.about_bytes))
