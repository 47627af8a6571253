"""Room for fids that may all need rows: whether a table has it, and making it of overdue rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ps.errors import TableFullError

if TYPE_CHECKING:
    from ps.arrays import U64
    from ps.table.rows import Rows


def rows_too_many(rows: Rows, fids: U64, clock_s: int) -> int:
    """How many rows must leave before fids all have one: 0, or some of those that are overdue.

    Raises TableFullError where those are too few.
    """
    if len(rows) + fids.size <= rows.capacity_rows:
        return 0
    missing = np.unique(fids[~rows.contains(fids, clock_s)]).size
    excess = len(rows) + missing - rows.capacity_rows
    if excess > 0 and excess > rows.count_overdue(clock_s):
        raise TableFullError(rows.spec.name, rows.capacity_rows)
    return max(excess, 0)


def make_room(rows: Rows, fids: U64) -> None:
    """Give back what is overdue where fids could not all have rows otherwise: TableFullError."""
    if rows_too_many(rows, fids, rows.clock_s) > 0:
        rows.expire(rows.used)
