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
    from collections.abc import Callable, Mapping, Sequence

    from ps.block import Block
    from ps.clock import Clock
    from ps.store.claim import Claim
    from ps.store.description import ModelDescription
    from ps.store.location import Location
    from ps.stream import Positions


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


@dataclass(frozen=True, slots=True)
class Written:
    """What the shards have written to the store themselves, each as one block, ready to be committed.

    heads: by shard, what follows its chain: of any of the shards, or none. n_bytes: of the files. at:
    the epoch that was sealed for it, above that of any restore point before. worker, skips, rows: as
    for an Epoch; worker None: what the writer was told last.
    """

    heads: Mapping[int, Block]
    n_bytes: int
    at: int
    worker: bytes | None = None
    skips: Skips | None = None
    rows: Mapping[str, int] | None = None


class StoreWriter:
    """Commits the epochs of one job to its store. Safe to use from several threads.

    chains: how the shards were restored, one for each (ShardChain(n, None, ()) for a fresh one).
    restored: the restore point they are of, if they are of any: what a commit says where no shard
    has anything new. It may be another than the newest.
    """

    def __init__(
        self,
        location: Location,
        claim: Claim,
        description: ModelDescription,
        chains: Sequence[ShardChain],
        *,
        clock: Clock,
        restored: Commit | None = None,
    ) -> None:
        self._location = location
        self._claim = claim
        self._description = description
        self._chains = tuple(chains)
        self._changing = threading.Lock()
        self._clock = clock
        self._last = restored

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
            return self._commit(
                self._extended_by_all(epoch.blocks),
                epoch.blocks,
                lambda: sum(write_block(self._location, block) for block in epoch.blocks),
                epoch,
            )

    def commit_written(self, written: Written, model: str) -> Commit:
        """Make a restore point of blocks that are there, under their final names: see commit(), whose
        second step the shards have done.

        A shard without a head stays where its chain ends. model: the job's fingerprint. Raises what
        commit() raises.
        """
        with self._changing:
            heads = [head for _, head in sorted(written.heads.items())]
            return self._commit(
                self._extended(written.heads), heads, lambda: written.n_bytes, written, model
            )

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

    def _commit(
        self,
        chains: tuple[ShardChain, ...],
        blocks: Sequence[Block],
        write: Callable[[], int],
        told: Epoch | Written,
        model: str | None = None,
    ) -> Commit:
        self._claim.check()  # 1
        self._claim.renew()
        n_bytes = write()  # 2
        self._claim.check()  # 3
        commit = self._commit_of(chains, blocks, n_bytes, told, model or blocks[0].model)
        self._location.write(commit_name(commit.at), [encode_commit(commit)])  # 4
        self._chains = chains
        self._last = commit
        return commit

    def _extended_by_all(self, blocks: Sequence[Block]) -> tuple[ShardChain, ...]:
        if [block.shard for block in blocks] != [chain.shard for chain in self._chains]:
            raise StoreError(
                f"an epoch of shards {[block.shard for block in blocks]} does not belong to a store "
                f"of shards {[chain.shard for chain in self._chains]}"
            )
        return self._extended({block.shard: block for block in blocks})

    def _extended(self, blocks: Mapping[int, Block]) -> tuple[ShardChain, ...]:
        unknown = blocks.keys() - {chain.shard for chain in self._chains}
        if unknown:
            raise StoreError(
                f"blocks of shards {sorted(unknown)} do not belong to a store of "
                f"{len(self._chains)} shards"
            )
        extended = []
        for chain in self._chains:
            block = blocks.get(chain.shard)
            if block is None:
                extended.append(chain)
                continue
            if block.follows != chain.cursor:
                raise StoreError(
                    f"shard {block.shard}: the block of epoch {block.epoch} follows {block.follows}, "
                    f"the store is at {chain.cursor}"
                )
            blocks_after = (*chain.blocks, block.cursor)
            extended.append(replace(chain, blocks=blocks_after, positions=dict(block.positions)))
        return tuple(extended)

    def _commit_of(
        self,
        chains: tuple[ShardChain, ...],
        blocks: Sequence[Block],
        n_bytes: int,
        told: Epoch | Written,
        model: str,
    ) -> Commit:
        positions = _oldest([chain.positions for chain in chains])
        ingested = [block.ingest_us for block in blocks if block.ingest_us is not None]
        epochs, clocks = [block.epoch for block in blocks], [block.event_ts_us for block in blocks]
        if isinstance(told, Written):
            epochs.append(told.at)
        if len(blocks) < len(chains) and self._last is not None:
            clocks.append(self._last.event_ts_us)
        worker, rows = told.worker, told.rows
        if worker is None:
            worker = b"" if self._last is None else self._last.worker
        return Commit(
            at=Cursor(max(epochs), self._claim.generation),
            model=model,
            description=self._description,
            shards=chains,
            positions=positions,
            event_ts_us=max(clocks, default=0),
            created_us=self._clock.now_us(),
            ingest_us=min(ingested, default=None),
            bytes_written=n_bytes,
            rows=dict(rows or {}),
            aligned=all(dict(chain.positions) == positions for chain in chains),
            skips=dict(told.skips or {}),
            worker=worker,
        )


def _oldest(positions: Sequence[Positions]) -> dict[str, int]:
    """Per partition, the oldest position of any shard; one that knows nothing of it is at 0."""
    partitions = sorted({partition for of_shard in positions for partition in of_shard})
    return {
        partition: min(of_shard.get(partition, 0) for of_shard in positions)
        for partition in partitions
    }


def _beginning_at(chain: ShardChain, base: Cursor) -> ShardChain:
    """The chain from a base of one of its own cursors on; as it was where it has no such cursor."""
    if base not in chain.blocks:
        return chain
    return replace(chain, base=base, blocks=chain.blocks[chain.blocks.index(base) + 1 :])
