"""One shard's rows inside a replica, and the lock between applying and reading them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ps.errors import ForeignBlockError, ShapeError
from serving.phaselock import PhaseLock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.arrays import F32, U64
    from ps.block import Block, TableDelta
    from serving.store import RowStore, StoreFactory

_MICROSECONDS = 1_000_000
# Rows written per hold of the lock: tens of microseconds, which is what a reader may have to wait.
CHUNK_ROWS = 2_048


class Part:
    """The tables of one shard. One thread applies; any number reads meanwhile."""

    def __init__(self, tables: Mapping[str, StoreFactory]) -> None:
        self._stores: dict[str, RowStore] = {name: make() for name, make in tables.items()}
        self._lock = PhaseLock()

    def rows(self) -> int:
        """Rows in all tables."""
        return sum(len(store) for store in self._stores.values())

    def check(self, block: Block) -> None:
        """See that a block fits before anything of it is applied.

        Raises ForeignBlockError for a table that is not here, ShapeError for arrays that do not fit.
        """
        for table, delta in block.tables.items():
            store = self._stores.get(table)
            if store is None:
                known = ", ".join(sorted(self._stores)) or "none"
                raise ForeignBlockError(
                    f"shard {block.shard}, epoch {block.epoch}: table {table!r} is not one of this "
                    f"replica's ({known}); serve the job that the shards train"
                )
            wanted = (len(delta.fids), store.width)
            if delta.weights.shape != wanted or delta.weights.dtype != np.float32:
                raise ShapeError(
                    f"shard {block.shard}, epoch {block.epoch}, table {table!r}: weights are "
                    f"{delta.weights.dtype}{list(delta.weights.shape)}, not float32{list(wanted)}"
                )
            if delta.last_seen_s.shape != wanted[:1] or delta.last_seen_s.dtype != np.uint32:
                raise ShapeError(
                    f"shard {block.shard}, epoch {block.epoch}, table {table!r}: last_seen_s are "
                    f"{delta.last_seen_s.dtype}{list(delta.last_seen_s.shape)}, not "
                    f"uint32[{len(delta.fids)}]"
                )

    def write(self, table: str, delta: TableDelta) -> None:
        """Apply one table's delta in chunks; a reader sees each row before or after, never between."""
        store = self._stores[table]
        removed = delta.removed
        if len(removed) and len(delta.fids):
            # A row that left and came back is overwritten in place: no reader finds it gone.
            removed = removed[~np.isin(removed, delta.fids)]
        for start in range(0, len(removed), CHUNK_ROWS):
            with self._lock.write():
                store.remove(removed[start : start + CHUNK_ROWS])
        for start in range(0, len(delta.fids), CHUNK_ROWS):
            chunk = slice(start, start + CHUNK_ROWS)
            with self._lock.write():
                store.upsert(delta.fids[chunk], delta.weights[chunk], delta.last_seen_s[chunk])

    def advance(self, event_ts_us: int) -> None:
        """Set event time to a block's, once its rows are written: what it saw again stays."""
        for store in self._stores.values():
            with self._lock.write():
                store.set_clock(event_ts_us // _MICROSECONDS)

    def read(self, table: str, fids: U64) -> tuple[F32, int]:
        """Rows of one table: fids uint64[n] -> (float32[n, width], how many were missing)."""
        with self._lock.read():
            return self._stores[table].read(fids)
