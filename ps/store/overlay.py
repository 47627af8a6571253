"""A set of changes laid over the rows of a base."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ps.kernels import merge
from ps.store.changes import new_index
from ps.store.rows import first_rows, no_rows

if TYPE_CHECKING:
    from ps.arrays import F32, U32, U64
    from ps.block import TableDelta
    from ps.store.changes import ChangeSet
    from ps.store.ownership import BucketRange

# Room for so many times what is looked up: mostly empty, so that a row that did not change, as most
# do not, is known at the first look.
_SLOTS_PER_ENTRY = 4


class Overlay:
    """Lays a set of changes over base rows, range of buckets by range of buckets."""

    def __init__(self, changes: ChangeSet) -> None:
        self._changes = changes
        self._order, self._starts = changes.by_bucket()
        self._new = no_rows(changes.width, changes.state_width)
        self._matched = np.empty((2, 1), dtype=np.int64)
        self._index = new_index(_SLOTS_PER_ENTRY)

    def changed(self, buckets: BucketRange) -> int:
        """How many fids changed in those buckets."""
        return int(self._starts[buckets.end] - self._starts[buckets.first])

    def onto(self, rows: TableDelta, buckets: BucketRange) -> tuple[TableDelta, TableDelta]:
        """The base rows of those buckets, changed in place, as far as they are left; and rows to be
        appended, which the next call overwrites. `rows` is writable.
        """
        n = self.changed(buckets)
        if n > self._new.fids.size:
            size = max(n, 2 * self._new.fids.size)
            self._new = no_rows(self._changes.width, self._changes.state_width, size)
        c = self._changes
        if n > self._matched.shape[1]:
            self._matched = np.empty((2, n), dtype=np.int64)
            self._index = new_index(_SLOTS_PER_ENTRY * n)
        index = new_index(_SLOTS_PER_ENTRY * n, self._index)
        entries = (
            c.fids,
            c.kinds,
            c.last_seen_s,
            c.weights,
            c.state,
            self._order,
            self._starts[buckets.first],
            self._starts[buckets.end],
            c.width,
            c.state_width,
        )
        kept = merge.overlay(index, self._matched[0], self._matched[1], *entries, *_flat(rows))
        appended = merge.gather_new(*entries, *_flat(self._new))
        return first_rows(rows, int(kept)), first_rows(self._new, int(appended))


def _flat(rows: TableDelta) -> tuple[U64, U32, F32, F32]:
    return rows.fids, rows.last_seen_s, rows.weights.reshape(-1), rows.state.reshape(-1)
