"""The rows of one table: their memory, their clock, who is overdue, and who has left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ps.kernels import delta, expire, index, layout
from ps.table.arrays import as_fids, for_reading, reserve_arrays
from ps.table.memory import commit
from ps.table.spec import DEFAULT_CAPACITY_ROWS

if TYPE_CHECKING:
    from ps.arrays import F32, U64, Bool, Int
    from ps.kernels.policy import SlotPolicies
    from ps.table.spec import TableSpec

_LINE_BYTES = 64
_WORD_BYTES = 4
_FIRST_REMOVALS = 1024
# last_seen_s is an unsigned 32-bit number of seconds; the clock stops there rather than wrap.
_LAST_SECOND = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Row:
    """One row, for people to look at. weights float32[width], state float32[state_width]."""

    fid: int
    last_seen_s: int
    weights: F32
    state: F32


class Rows:
    """What Table, its sealing and its bulk work share; none of it is for others.

    arrays: the table's memory; the tuple is another during a seal, so nobody may keep it from one
    call to the next. reading: the same for those who only read, once and for all. removed: the fids
    that left in this epoch, and behind them room for more. epoch: its number, as rows keep it.
    """

    __slots__ = (
        "arrays",
        "capacity_rows",
        "epoch",
        "layout",
        "policies",
        "reading",
        "removed",
        "spec",
        "with_state",
    )

    def __init__(self, spec: TableSpec, policies: SlotPolicies, *, with_state: bool) -> None:
        self.spec = spec
        self.policies = policies
        self.with_state = with_state
        self.capacity_rows = spec.capacity_rows or DEFAULT_CAPACITY_ROWS
        self.layout = layout.row_layout(
            spec.width, spec.state_width if with_state else 0, expires=spec.expires
        )
        self.arrays = reserve_arrays(self.layout.stride, self.capacity_rows)
        self.reading = for_reading(self.arrays)
        self.removed: U64 = np.empty(_FIRST_REMOVALS, dtype=np.uint64)
        self.epoch = np.uint32(1)

    def __len__(self) -> int:
        """Rows in memory, overdue ones included."""
        return int(self.arrays.counters[index.LIVE])

    @property
    def used(self) -> int:
        """Rows that have ever been in use: all others lie behind them."""
        return int(self.arrays.counters[index.NEXT_ROW])

    @property
    def clock_s(self) -> int:
        """The table's event time, in seconds."""
        return int(self.arrays.counters[index.CLOCK_S])

    def advance_clock(self, now_s: int) -> None:
        """See Table.advance_clock."""
        self.arrays.counters[index.CLOCK_S] = max(self.clock_s, min(now_s, _LAST_SECOND))

    def set_clock(self, now_s: int) -> None:
        """See Table.set_clock."""
        self.arrays.counters[index.CLOCK_S] = min(max(now_s, 0), _LAST_SECOND)

    def contains(self, fids: U64, clock_s: int) -> Bool:
        """Which of fids (uint64[n]) have a row that is not overdue at clock_s: bool[n]."""
        fids = as_fids(fids)
        present = np.empty(fids.size, dtype=np.bool_)
        delta.contains(self.reading, self.layout, self.policies, fids, clock_s, present)
        return present

    def count_overdue(self, clock_s: int) -> int:
        """Rows that are overdue at clock_s and have not been given back."""
        if not self.spec.expires:
            return 0
        return int(expire.count_overdue(self.arrays, self.layout, self.policies, clock_s))

    def inspect(self, fid: int) -> Row | None:
        """See Table.inspect."""
        at = delta.row_of(self.reading, self.layout, self.policies, np.uint64(fid))
        if at < 0:
            return None
        base = at * self.layout.stride
        weights_at, state_at = base + self.layout.weights_at, base + self.layout.state_at
        return Row(
            fid=fid,
            last_seen_s=int(self.arrays.meta[base + self.layout.last_seen_at]),
            weights=self.arrays.words[weights_at : weights_at + self.spec.width].copy(),
            state=self.arrays.words[state_at : state_at + self.layout.state_width].copy(),
        )

    def expire(self, budget_rows: int) -> int:
        """Look at budget_rows rows and free those that are overdue by the clock; how many went."""
        if not self.spec.expires:
            return 0
        expired = int(self.arrays.counters[index.EXPIRED])
        room = self.room_for_removals(min(budget_rows, self.used))
        expire.expire(self.arrays, self.layout, self.policies, budget_rows, room)
        if not self.with_state:
            self.arrays.counters[index.REMOVED] = 0
        return int(self.arrays.counters[index.EXPIRED]) - expired

    def remove(self, fids: U64) -> int:
        """See Table.remove."""
        fids = as_fids(fids)
        before = len(self)
        room = self.room_for_removals(fids.size)
        expire.remove_rows(self.arrays, self.layout, fids, room)
        if not self.with_state:
            self.arrays.counters[index.REMOVED] = 0
        return before - len(self)

    def most_removals(self, missing: Int) -> int:
        """Rows that may leave for so many fids without one: overdue ones, and such as are evicted."""
        return int(missing) * (self.spec.expires + (self.spec.on_full == "evict"))

    def room_for_removals(self, more: Int) -> U64:
        """The list of removals, with room for `more` fids."""
        needed = int(self.arrays.counters[index.REMOVED]) + int(more)
        if needed > self.removed.size:
            self.removed = np.resize(self.removed, max(needed, 2 * self.removed.size))
        return self.removed

    def drain_removals(self) -> U64:
        """The fids that left in this epoch, as a new array; the list is empty then."""
        drained = self.removed[: int(self.arrays.counters[index.REMOVED])].copy()
        self.arrays.counters[index.REMOVED] = 0
        self.removed = np.empty(_FIRST_REMOVALS, dtype=np.uint64)
        return drained

    def reserve_rows(self, count: int) -> None:
        """See Table.reserve_rows."""
        counters = self.arrays.counters
        if len(self) > 0:
            return
        lines, low_mask = index.lines_for(min(count, self.capacity_rows))
        if lines > counters[index.N_LINES]:
            counters[index.N_LINES] = lines
            counters[index.LOW_MASK] = low_mask

    def commit_memory(self, count: int) -> None:
        """See Table.commit_memory."""
        lines = int(self.arrays.counters[index.N_LINES])
        commit(self.arrays.tags, lines * _LINE_BYTES)
        count = min(count, self.capacity_rows)
        commit(self.arrays.words, count * self.layout.stride * _WORD_BYTES)

    @property
    def allocated_bytes(self) -> int:
        """Bytes in use by rows ever used, index lines and maps of changes."""
        lines = int(self.arrays.counters[index.N_LINES])
        rows_bytes = self.used * self.layout.stride * _WORD_BYTES
        return rows_bytes + lines * _LINE_BYTES + self.used // 2
