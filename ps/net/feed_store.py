"""Blocks and bases out of the store, for readers whose leader does not answer or has forgotten them."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ps.block import Cursor, TableDelta
from ps.errors import CorruptFileError, FileMissingError
from ps.store.block_file import read_block
from ps.store.catalog import Catalog
from ps.store.chains import ChainReader, folded
from ps.store.changes import ChangeSet
from ps.store.names import block_name

if TYPE_CHECKING:
    from collections.abc import Collection

    from ps.arrays import U64, Bool
    from ps.block import Block
    from ps.clock import Clock
    from ps.store.commit import Commit, ShardChain
    from ps.store.location import Location

# Handed out at once: a reader that is far behind comes again.
_MOST_BLOCKS = 16
# Files that turn out to be damaged or pruned are gone round so many times before it is given up.
_MOST_WAYS = 8


class StoredBlocks:
    """What the newest whole restore point has of each shard. Safe to use from several threads.

    model: only what was committed for this model is given, and all of it as this model's. with_state:
    whether rows come with the optimizer's state, which only a standby needs. look_every_s: how often
    the store is asked for a newer restore point, at most.
    """

    def __init__(
        self,
        location: Location,
        *,
        model: str,
        clock: Clock,
        with_state: bool = True,
        look_every_s: float = 0.5,
    ) -> None:
        self._location = location
        self._model = model
        self._clock = clock
        self._with_state = with_state
        self._look_every_s = look_every_s
        self._catalog = Catalog(location)
        self._looking = threading.Lock()
        self._newest: Commit | None = None
        self._looked_s: float | None = None

    def read(self, shard: int, shards: int, after: Cursor) -> list[Block]:
        """The blocks of one of so many shards that lead on from a cursor, in order, a few at a time.

        A cursor within a block is as good as its beginning where all of it is of one generation: a
        block has its rows in full. None where the store does not lead on. Raises StoreError.
        """
        damaged: set[str] = set()
        for _ in range(_MOST_WAYS):
            commit = self._look(shards, damaged)
            if commit is None:
                return []
            chain = commit.shards[shard]
            first = _leads_on(chain, after)
            if first is None:
                return []
            try:
                return self._blocks(chain, first, after)
            except (CorruptFileError, FileMissingError) as error:
                damaged.add(error.name)
        return []

    def base(self, shard: int, shards: int, *, beyond: Cursor | None = None) -> Block | None:
        """One of so many shards as the newest restore point has it; None where the store has none,
        or none that is newer than a cursor.

        Memory: the rows that are handed out, those that changed since the base once more, and two
        sections. Raises StoreError.
        """
        damaged: set[str] = set()
        for _ in range(_MOST_WAYS):
            commit = self._look(shards, damaged)
            if commit is None:
                return None
            chain = commit.shards[shard]
            if chain.cursor.epoch == 0 or (beyond is not None and not _newer(chain.cursor, beyond)):
                return None
            try:
                return self._read_base(commit, chain)
            except (CorruptFileError, FileMissingError) as error:
                damaged.add(error.name)
        return None

    def _look(self, shards: int, damaged: Collection[str]) -> Commit | None:
        """The newest restore point of this model and number of shards; asked for anew now and then."""
        with self._looking:
            now_s = self._clock.monotonic_s()
            if damaged or self._looked_s is None or now_s - self._looked_s >= self._look_every_s:
                self._newest = self._catalog.newest_whole(damaged)
                self._looked_s = now_s
            found = self._newest
        if found is None or found.model != self._model or len(found.shards) != shards:
            return None
        return found

    def _blocks(self, chain: ShardChain, first: int, after: Cursor) -> list[Block]:
        begin = chain.base if first == 0 else chain.blocks[first - 1]
        blocks: list[Block] = []
        for at in chain.blocks[first : first + _MOST_BLOCKS]:
            block = replace(read_block(self._location, chain.shard, at), model=self._model)
            if begin is not None and block.follows != begin:
                name = block_name(chain.shard, at)
                raise CorruptFileError(name, f"does not follow {begin} as its commit says")
            blocks.append(block if blocks else replace(block, after=after))
            begin = at
        return blocks

    def _read_base(self, commit: Commit, chain: ShardChain) -> Block:
        reader = ChainReader(self._location, chain, {commit.at.generation: commit.model})
        head = None if reader.base is None else reader.base.head
        changes: dict[str, ChangeSet] = {}
        for block in reader.blocks():
            head = folded(head, block)
            for name, change in block.tables.items():
                if name not in changes:
                    changes[name] = ChangeSet(change.weights.shape[1], change.state.shape[1])
                changes[name].absorb(change)
        assert head is not None  # noqa: S101  # a chain that leads somewhere has a file
        tables = {
            name: self._rows(reader, name, changes.pop(name, None))
            for name in sorted({*changes, *(() if reader.base is None else reader.base.tables)})
        }
        return replace(head, model=self._model, tables=tables)

    def _rows(self, reader: ChainReader, table: str, changes: ChangeSet | None) -> TableDelta:
        """A table's rows: those of the base that did not change, then those that did."""
        later = None if changes is None else changes.merged()
        base = None if reader.base is None else reader.base.tables.get(table)
        if base is None or reader.base is None:
            assert later is not None  # noqa: S101  # it is in one of the two
            return self._handed_out(later)
        n = base.rows + (0 if later is None else later.fids.size)
        state_width = base.state_width if self._with_state else 0
        fids = np.empty(n, dtype=np.uint64)
        seen = np.empty(n, dtype=np.uint32)
        weights = np.empty((n, base.width), dtype=np.float32)
        state = np.empty((n, state_width), dtype=np.float32)
        changed = None if later is None else np.sort(np.concatenate([later.fids, later.removed]))
        at = 0

        def put(rows: TableDelta, kept: slice | Bool) -> None:
            nonlocal at
            taken = rows.fids[kept]
            here = slice(at, at + taken.size)
            fids[here] = taken
            seen[here] = rows.last_seen_s[kept]
            weights[here] = rows.weights[kept]
            if state_width:
                state[here] = rows.state[kept]
            at += taken.size

        for loaded in reader.base.sections(tables=[table]):
            rows = loaded.rows
            put(rows, slice(None) if changed is None else ~_among(rows.fids, changed))
        if later is not None:
            put(later, slice(None))
        nothing = np.empty(0, dtype=np.uint64)
        return TableDelta(fids[:at], seen[:at], weights[:at], state[:at], nothing)

    def _handed_out(self, rows: TableDelta) -> TableDelta:
        state = rows.state if self._with_state else rows.state[:, :0]
        nothing = np.empty(0, dtype=np.uint64)
        return TableDelta(rows.fids, rows.last_seen_s, rows.weights, state, nothing)


def _leads_on(chain: ShardChain, after: Cursor) -> int | None:
    """Which of the chain's blocks a reader at a cursor applies next; None: none."""
    for number, end in enumerate(chain.blocks):
        begin = chain.blocks[number - 1] if number else chain.base or Cursor(0, end.generation)
        if after == begin:
            return number
        within = begin.epoch < after.epoch < end.epoch
        if within and begin.generation == end.generation == after.generation:
            return number
    return None


def _newer(at: Cursor, than: Cursor) -> bool:
    return (at.generation, at.epoch) > (than.generation, than.epoch)


def _among(fids: U64, ordered: U64) -> Bool:
    """Which of the fids are among those in order: bool[n]."""
    if not ordered.size:
        return np.zeros(fids.size, dtype=np.bool_)
    places = np.minimum(np.searchsorted(ordered, fids), ordered.size - 1)
    found: Bool = ordered[places] == fids
    return found
