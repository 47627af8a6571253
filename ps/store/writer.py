"""The commit protocol: sealed blocks become a restore point, whole or not at all."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ps.block import Cursor
from ps.errors import StoreError
from ps.store.block_file import write_block
from ps.store.commit import Commit, ShardChain, Skips
from ps.store.commit_codec import encode_commit
from ps.store.names import commit_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ps.block import Block
    from ps.clock import Clock
    from ps.store.claim import Claim
    from ps.store.description import ModelDescription
    from ps.store.location import Location


@dataclass(frozen=True, slots=True)
class Epoch:
    """One sealed epoch of the whole job, ready to be committed.

    blocks: one for each shard, by number. worker: the state of whoever reads the stream, as of these
    blocks' positions. rows: alive, by table, over all shards.
    """

    blocks: tuple[Block, ...]
    worker: bytes = b""
    skips: Skips | None = None
    rows: Mapping[str, int] | None = None


class StoreWriter:
    """Commits the epochs of one job to its store. Safe to use from several threads.

    chains: how the shards were restored, one for each (ShardChain(n, None, ()) for a fresh one).
    """

    def __init__(
        self,
        location: Location,
        claim: Claim,
        description: ModelDescription,
        chains: Sequence[ShardChain],
        *,
        clock: Clock,
    ) -> None:
        self._location = location
        self._claim = claim
        self._description = description
        self._chains = tuple(chains)
        self._changing = threading.Lock()
        self._clock = clock

    def check(self) -> None:
        """Raise FencedError where a later writer has taken over."""
        self._claim.check()

    @property
    def chains(self) -> tuple[ShardChain, ...]:
        """How each shard would be restored now."""
        return self._chains

    def commit(self, epoch: Epoch) -> Commit:
        """Make a restore point of an epoch:

        1. make sure that no later writer has taken over, and renew the claim
        2. write every shard's block under its final name
        3. make sure once more, now that time has passed
        4. write the commit, which names the blocks: the restore point exists

        A crash before 4 leaves blocks that nobody names, which retention removes; the epoch may be
        committed again after an error, since every step may be repeated. Raises FencedError,
        StoreUnavailableError, and StoreError where the blocks do not follow what was committed.
        """
        with self._changing:
            chains = self._extended(epoch.blocks)
            self._claim.check()  # 1
            self._claim.renew()
            written = sum(write_block(self._location, block) for block in epoch.blocks)  # 2
            self._claim.check()  # 3
            commit = self._commit_of(epoch, chains, written)
            self._location.write(commit_name(commit.at), [encode_commit(commit)])  # 4
            self._chains = chains
            return commit

    def adopt_bases(self, bases: Mapping[int, Cursor]) -> None:
        """From the next commit on, restore shards from these bases, which are written."""
        with self._changing:
            self._chains = tuple(
                _beginning_at(chain, bases[chain.shard]) if chain.shard in bases else chain
                for chain in self._chains
            )

    def replace_chains(self, chains: Sequence[ShardChain]) -> None:
        """Go on from other chains: of shards that were restored, taken back or cut anew."""
        with self._changing:
            self._chains = tuple(chains)

    def _extended(self, blocks: Sequence[Block]) -> tuple[ShardChain, ...]:
        if [block.shard for block in blocks] != [chain.shard for chain in self._chains]:
            raise StoreError(
                f"an epoch of shards {[block.shard for block in blocks]} does not belong to a store "
                f"of shards {[chain.shard for chain in self._chains]}"
            )
        extended = []
        for chain, block in zip(self._chains, blocks, strict=True):
            if block.follows != chain.cursor:
                raise StoreError(
                    f"shard {block.shard}: the block of epoch {block.epoch} follows {block.follows}, "
                    f"the store is at {chain.cursor}"
                )
            blocks_after = (*chain.blocks, block.cursor)
            extended.append(replace(chain, blocks=blocks_after, positions=dict(block.positions)))
        return tuple(extended)

    def _commit_of(self, epoch: Epoch, chains: tuple[ShardChain, ...], written: int) -> Commit:
        blocks = epoch.blocks
        positions = _oldest(blocks)
        ingested = [block.ingest_us for block in blocks if block.ingest_us is not None]
        return Commit(
            at=Cursor(max(block.epoch for block in blocks), self._claim.generation),
            model=blocks[0].model,
            description=self._description,
            shards=chains,
            positions=positions,
            event_ts_us=max(block.event_ts_us for block in blocks),
            created_us=self._clock.now_us(),
            ingest_us=min(ingested, default=None),
            bytes_written=written,
            rows=dict(epoch.rows or {}),
            aligned=all(dict(block.positions) == positions for block in blocks),
            skips=dict(epoch.skips or {}),
            worker=epoch.worker,
        )


def _oldest(blocks: Sequence[Block]) -> dict[str, int]:
    """Per partition, the oldest position of any shard; one that knows nothing of it is at 0."""
    partitions = sorted({partition for block in blocks for partition in block.positions})
    return {
        partition: min(block.positions.get(partition, 0) for block in blocks)
        for partition in partitions
    }


def _beginning_at(chain: ShardChain, base: Cursor) -> ShardChain:
    """The chain from a base of one of its own cursors on; as it was where it has no such cursor."""
    if base not in chain.blocks:
        return chain
    return replace(chain, base=base, blocks=chain.blocks[chain.blocks.index(base) + 1 :])
