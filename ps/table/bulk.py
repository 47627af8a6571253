"""Taking rows over in bulk: as another table handed them out, as they were stored, in full.

Functions are documented at Table's methods of the same names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ps.errors import TableFullError
from ps.kernels import delta, index
from ps.table.arrays import as_fids, for_kernel, scratch
from ps.table.checks import check_rows
from ps.table.room import make_room

if TYPE_CHECKING:
    from ps.arrays import F32, U32, U64
    from ps.block import TableDelta
    from ps.table.rows import Rows

_NO_STATE: F32 = np.empty(0, dtype=np.float32)


def check_change(rows: Rows, change: TableDelta) -> None:
    """See Table.check_change."""
    as_fids(change.removed)
    state = change.state if rows.with_state else np.empty((change.fids.size, 0), np.float32)
    check_rows(rows.spec.name, rows.layout, change.fids, change.weights, state, change.last_seen_s)


def apply(rows: Rows, change: TableDelta) -> None:
    """See Table.apply."""
    check_change(rows, change)
    rows.remove(change.removed)
    state = change.state if rows.with_state else _NO_STATE
    upsert(rows, change.fids, change.weights, state, change.last_seen_s)


def load(rows: Rows, change: TableDelta, *, fresh: bool) -> None:
    """See Table.load. No epoch is being sealed."""
    check_change(rows, change)
    counters = rows.arrays.counters
    listed = int(counters[index.REMOVED])
    rows.remove(change.removed)
    counters[index.REMOVED] = listed
    state = change.state if rows.with_state else _NO_STATE
    if not fresh:
        upsert(rows, change.fids, change.weights, state, change.last_seen_s, mark=False)
        counters[index.REMOVED] = listed
        return
    if len(rows) + change.fids.size > rows.capacity_rows:
        raise TableFullError(rows.spec.name, rows.capacity_rows)
    delta.load_new(
        rows.arrays,
        rows.layout,
        as_fids(change.fids),
        for_kernel(change.last_seen_s),
        for_kernel(change.weights).reshape(-1),
        for_kernel(state).reshape(-1),
        scratch()[0],
    )


def upsert(
    rows: Rows, fids: U64, weights: F32, state: F32, last_seen_s: U32, *, mark: bool = True
) -> None:
    """See Table.upsert. mark: whether the rows count as changed in this epoch."""
    if state.size == 0 and rows.layout.state_width == 0:
        state = state.reshape(fids.size, 0)
    check_rows(rows.spec.name, rows.layout, fids, weights, state, last_seen_s)
    fids = as_fids(fids)
    make_room(rows, fids)
    mixed, found = scratch()
    delta.upsert(
        rows.arrays,
        rows.layout,
        fids,
        for_kernel(last_seen_s),
        for_kernel(weights).reshape(-1),
        for_kernel(state).reshape(-1),
        rows.epoch,
        mark,
        mixed,
        found,
    )


def mark_changed(rows: Rows, fids: U64) -> None:
    """See Table.mark_changed."""
    fids = as_fids(fids)
    room = rows.room_for_removals(fids.size)
    delta.mark_changed(rows.arrays, rows.layout, fids, rows.epoch, room)
