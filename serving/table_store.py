"""A RowStore over the training's own table, without optimizer state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ps.table.table import Table

if TYPE_CHECKING:
    from ps.arrays import F32, U32, U64
    from ps.table.spec import TableSpec

_NO_STATE = np.empty(0, dtype=np.float32)


class TableStore:
    """Rows in a ps.table.Table, so that a missing fid reads exactly as it does in training.

    spec, seed: those of the shards.
    """

    def __init__(self, spec: TableSpec, *, seed: int) -> None:
        self._table = Table(spec, seed=seed, with_state=False)

    @property
    def width(self) -> int:
        """Floats per row."""
        return self._table.spec.width

    def __len__(self) -> int:
        return len(self._table)

    def upsert(self, fids: U64, weights: F32, last_seen_s: U32) -> None:
        """Set rows: fids uint64[n], unique; weights float32[n, width]; last_seen_s uint32[n].

        Raises TableFullError.
        """
        self._table.upsert(fids, weights, _NO_STATE, last_seen_s)

    def set_clock(self, now_s: int) -> None:
        """Set event time: what is overdue by now reads as missing.

        It is given back when a shard says so, and not before: shards that were taken back to an
        earlier time may have it still.
        """
        self._table.set_clock(now_s)

    def remove(self, fids: U64) -> None:
        """Drop the rows of fids uint64[n]."""
        self._table.remove(fids)

    def read(self, fids: U64) -> tuple[F32, int]:
        """Rows for fids uint64[n], and how many had none: (float32[n, width], count)."""
        return self._table.pull_counted(fids)
