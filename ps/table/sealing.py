"""Handing rows over: the epoch that is being sealed, beside what goes on, and whole tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ps.errors import SealInProgressError
from ps.kernels import cut, delta, index
from ps.table.arrays import columns, with_room
from ps.table.recycling import RecycledMemory

if TYPE_CHECKING:
    from ps.arrays import U64
    from ps.block import TableDelta
    from ps.table.rows import Rows


class Sealing:
    """One table's epochs: one may be being sealed while the next is under way (ADR 0013).

    Methods are documented at Table's of the same names.
    """

    __slots__ = ("_memory", "_removed", "_rows")

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._memory = RecycledMemory()
        # The fids that left in the epoch being sealed; None: none is.
        self._removed: U64 | None = None

    def refuse_while_sealing(self) -> None:
        """Raise SealInProgressError where an epoch is being sealed."""
        if self._removed is not None:
            raise SealInProgressError(
                f"table {self._rows.spec.name!r} is being sealed; gather() it to its end and "
                "finish_seal()"
            )

    def begin(self) -> None:
        """See Table.begin_seal."""
        self.refuse_while_sealing()
        rows = self._rows
        count = int(delta.count_marks(rows.arrays.touched, _words_of(rows.used)))
        rows.arrays = with_room(rows.arrays, count, rows.layout, self._memory)
        self._removed = rows.drain_removals()
        cut.freeze(rows.arrays)
        rows.epoch += np.uint32(1)

    @property
    def pending_rows(self) -> int:
        """See Table.pending_rows."""
        return int(self._rows.arrays.counters[index.PENDING])

    def gather(self, budget_rows: int) -> bool:
        """See Table.gather."""
        cut.gather(self._rows.arrays, self._rows.layout, budget_rows)
        return self.pending_rows == 0

    def finish(self) -> TableDelta:
        """See Table.finish_seal."""
        rows, missing = self._rows, self.pending_rows
        if self._removed is None or missing > 0:
            raise SealInProgressError(
                f"table {rows.spec.name!r}: {missing:,} rows are still to be gathered"
                if missing
                else f"table {rows.spec.name!r} is not being sealed; begin_seal() first"
            )
        sealed = columns(rows.arrays, rows.layout, self._removed)
        rows.arrays = with_room(rows.arrays, 0, rows.layout)
        self._removed = None
        return sealed

    def forget_changes(self) -> None:
        """See Table.forget_changes."""
        self.refuse_while_sealing()
        rows = self._rows
        rows.drain_removals()
        rows.arrays.touched[: _words_of(rows.used)] = 0
        rows.epoch += np.uint32(1)


def export(rows: Rows, *, with_overdue: bool) -> TableDelta:
    """See Table.export."""
    marks = np.zeros(_words_of(rows.used), dtype=np.uint64)
    clock_s = 0 if with_overdue else rows.clock_s
    count = delta.mark_live(rows.arrays, rows.layout, rows.policies, clock_s, marks)
    arrays = with_room(rows.arrays, int(count), rows.layout)
    cut.gather_marked(arrays, rows.layout, marks)
    return columns(arrays, rows.layout, np.empty(0, dtype=np.uint64))


def _words_of(rows: int) -> int:
    """Words of a map with one bit for each of so many rows."""
    return -(-rows // 64)
