"""The table: pull, push, expire, and its rows in bulk, over kernels on reserved memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ps.admission import AdmissionFilter
from ps.block import TableTally
from ps.errors import SealInProgressError, TableFullError
from ps.kernels import cut, delta, expire, index, layout, logistic, pull, push
from ps.kernels.optimize import FTRL_PROXIMAL, HYPER_WIDTH
from ps.messages import TableStats
from ps.table.arrays import (
    as_fids,
    columns,
    for_kernel,
    for_reading,
    reserve_arrays,
    scratch,
    with_room,
)
from ps.table.checks import check_examples, check_gradients, check_rows
from ps.table.memory import commit
from ps.table.policies import slot_policies
from ps.table.spec import DEFAULT_CAPACITY_ROWS

if TYPE_CHECKING:
    from ps.arrays import F32, U32, U64, Bool, Int
    from ps.block import TableDelta
    from ps.dense import DenseSpec
    from ps.messages import LogisticExamples, RowGradients
    from ps.table.spec import TableSpec

_LINE_BYTES = 64
_WORD_BYTES = 4
_FIRST_REMOVALS = 1024
# last_seen_s is an unsigned 32-bit number of seconds; the clock stops there rather than wrap.
_LAST_SECOND = (1 << 32) - 1
_NO_VALUES: F32 = np.empty(0, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Row:
    """One row, for people to look at. weights float32[width], state float32[state_width]."""

    fid: int
    last_seen_s: int
    weights: F32
    state: F32


class Table:
    """Rows by fid. One thread writes; pulls from other threads need a lock around both.

    The table has a clock, the latest event time of its pushes. A row that was not seen for its
    slot's time to live is overdue: everybody finds it missing, whether its memory has been given
    back yet or not.

    seed: with the fid, decides initial values and Poisson admission. with_state=False keeps no
    optimizer state: for a replica, which only reads and takes over rows.
    """

    def __init__(self, spec: TableSpec, *, seed: int = 0, with_state: bool = True) -> None:
        self.spec = spec
        self.admission = AdmissionFilter(
            {policy.slot: policy.admission for policy in spec.slots},
            seed=seed,
            remembered_fids=spec.remembered_fids,
            window_s=spec.admission_window_s,
        )
        self._with_state = with_state
        self._capacity_rows = spec.capacity_rows or DEFAULT_CAPACITY_ROWS
        self._layout = layout.row_layout(
            spec.width, spec.state_width if with_state else 0, expires=spec.expires
        )
        self._arrays = reserve_arrays(self._layout.stride, self._capacity_rows)
        self._reading = for_reading(self._arrays)
        self._policies = slot_policies(spec, seed, self.admission)
        settings = self._policies.hyper.reshape(-1, HYPER_WIDTH)
        self._has_one_optimizer = bool((settings == settings[0]).all())
        self._removed: U64 = np.empty(_FIRST_REMOVALS, dtype=np.uint64)
        # The fids that left in the epoch being sealed; None: none is.
        self._sealing: U64 | None = None
        self._epoch = np.uint32(1)

    def __len__(self) -> int:
        """Rows in memory: with those that are overdue and have not been given back yet."""
        return int(self._arrays.counters[index.LIVE])

    def pull(self, fids: U64) -> F32:
        """The weights of fids (uint64[n]) as a new float32[n, width]. No side effect.

        A fid without a row reads as its initial value, or as zeros where its slot has admission.
        """
        return self.pull_counted(fids)[0]

    def pull_counted(self, fids: U64) -> tuple[F32, int]:
        """As pull, and how many of the fids have no row."""
        fids = as_fids(fids)
        out = np.empty((fids.size, self._layout.width), dtype=np.float32)
        mixed, found = scratch()
        missing = pull.pull(
            self._reading, self._layout, self._policies, fids, out.reshape(-1), mixed, found
        )
        return out, int(missing)

    def check(self, gradients: RowGradients, *, now_s: int = 0) -> None:
        """Refuse a push that could not be applied whole at now_s: ShapeError, TableFullError.

        Near capacity the check counts every fid without a row as one that needs one.
        """
        check_gradients(self.spec, gradients)
        self.check_room(gradients.fids, now_s=now_s)

    def check_room(self, fids: U64, *, now_s: int = 0) -> None:
        """Raise TableFullError where fids may need more rows than there are, and none may go.

        Rows that are overdue by now_s are in nobody's way.
        """
        if self.spec.on_full == "error":
            self._rows_too_many(fids, max(now_s, self.clock_s))

    def _rows_too_many(self, fids: U64, clock_s: int) -> int:
        """How many rows must leave before fids all have one: 0, or some of those that are overdue.

        Raises TableFullError where those are too few.
        """
        if len(self) + fids.size <= self._capacity_rows:
            return 0
        missing = np.unique(fids[~self._contains(fids, clock_s)]).size
        excess = len(self) + missing - self._capacity_rows
        if excess > 0 and excess > self._count_overdue(clock_s):
            raise TableFullError(self.spec.name, self._capacity_rows)
        return max(excess, 0)

    def _count_overdue(self, clock_s: int) -> int:
        if not self.spec.expires:
            return 0
        return int(expire.count_overdue(self._arrays, self._layout, self._policies, clock_s))

    def _make_room(self, fids: U64) -> None:
        """Give back what is overdue where fids could not all have rows otherwise: TableFullError."""
        if self._rows_too_many(fids, self.clock_s) > 0:
            used = int(self._arrays.counters[index.NEXT_ROW])
            self.expire(now_s=self.clock_s, budget_rows=used)

    def check_examples(self, examples: LogisticExamples, *, now_s: int = 0) -> None:
        """Refuse examples that could not be learned from at now_s: ShapeError, TableFullError."""
        check_examples(self.spec, examples)
        self.check_room(examples.fids, now_s=now_s)

    def push(self, gradients: RowGradients, *, now_s: int, salt: int = 0) -> tuple[int, int]:
        """One optimizer step for each unique fid; makes the rows that are now admitted.

        now_s: event time in seconds. salt: tells this push from others in Poisson admission.
        Returns (rows created, occurrences refused). The caller has called check().
        """
        fids = as_fids(gradients.fids)
        grads = for_kernel(gradients.grads).reshape(-1)
        mixed, found = scratch()
        missing = np.empty(fids.size, dtype=np.int64)
        now_s = self._advance(now_s)
        if self.spec.on_full == "error":
            self._make_room(fids)
        n_missing = push.push_found(
            self._arrays,
            self._layout,
            self._policies,
            fids,
            grads,
            now_s,
            self._epoch,
            mixed,
            found,
            missing,
        )
        counters = self._arrays.counters
        admitted, refused = int(counters[index.ADMITTED]), int(counters[index.REFUSED])
        push.push_missing(
            self._arrays,
            self._layout,
            self._policies,
            fids,
            grads,
            for_kernel(gradients.counts),
            now_s,
            np.uint64(salt),
            self._epoch,
            missing,
            n_missing,
            self._capacity_rows,
            self._room_for_removals(self._most_removals(n_missing)),
        )
        return int(counters[index.ADMITTED]) - admitted, int(counters[index.REFUSED]) - refused

    def learn_logistic(
        self,
        examples: LogisticExamples,
        variable: tuple[DenseSpec, F32, F32],
        *,
        now_s: int,
        salt: int = 0,
    ) -> F32:
        """Predict and learn example by example; the predictions, float32[n], from before learning.

        variable: the dense variable lent by its store. The caller has called check_examples().
        An example whose prediction is NaN is not learned from.
        """
        spec, words, hyper = variable
        fids = as_fids(examples.fids)
        longest = int(np.diff(examples.offsets).max(initial=0))
        probabilities = np.empty(examples.labels.size, dtype=np.float32)
        mixed, found = scratch()
        now_s = self._advance(now_s)
        if self.spec.on_full == "error":
            self._make_room(fids)
        logistic.learn_logistic(
            self._arrays,
            self._layout,
            self._policies,
            fids,
            for_kernel(examples.offsets),
            _NO_VALUES if examples.values is None else for_kernel(examples.values),
            for_kernel(examples.inputs).reshape(-1),
            for_kernel(examples.labels),
            words,
            spec.optimizer.kind,
            hyper,
            np.empty(spec.size, dtype=np.float32),
            now_s,
            np.uint64(salt),
            self._epoch,
            self._capacity_rows,
            self._room_for_removals(self._most_removals(fids.size)),
            mixed,
            found,
            np.empty(longest, dtype=np.int64),
            np.empty(3 * longest, dtype=np.float32),
            self._can_step_side_by_side(examples),
            probabilities,
        )
        return probabilities

    def _can_step_side_by_side(self, examples: LogisticExamples) -> bool:
        """Whether ps.kernels.logistic may take its faster path."""
        return (
            examples.distinct
            and examples.values is None
            and self.spec.optimizer.kind == FTRL_PROXIMAL
            and self._has_one_optimizer
        )

    @property
    def clock_s(self) -> int:
        """The table's event time, in seconds."""
        return int(self._arrays.counters[index.CLOCK_S])

    def advance_clock(self, now_s: int) -> None:
        """Move the table's event time, in seconds; time that runs backwards is ignored."""
        self._arrays.counters[index.CLOCK_S] = max(self.clock_s, min(now_s, _LAST_SECOND))

    def set_clock(self, now_s: int) -> None:
        """Set the table's event time, also back: for a reader whose writer has gone back.

        Rows that had been overdue are there again, where nobody has given them back.
        """
        self._arrays.counters[index.CLOCK_S] = min(max(now_s, 0), _LAST_SECOND)

    def _advance(self, now_s: int) -> int:
        """Move table and filter to a push's time; the time it then happens at."""
        self.advance_clock(now_s)
        self.admission.advance(self.clock_s)
        return self.clock_s

    def expire(self, *, now_s: int, budget_rows: int) -> int:
        """Look at budget_rows rows and free those that are overdue by now_s; how many went.

        To everybody else they had gone when the clock passed their time; this gives back the memory.
        """
        self.advance_clock(now_s)
        if not self.spec.expires:
            return 0
        expired = int(self._arrays.counters[index.EXPIRED])
        room = self._room_for_removals(min(budget_rows, int(self._arrays.counters[index.NEXT_ROW])))
        expire.expire(self._arrays, self._layout, self._policies, budget_rows, room)
        if not self._with_state:
            self._arrays.counters[index.REMOVED] = 0
        return int(self._arrays.counters[index.EXPIRED]) - expired

    def _most_removals(self, missing: Int) -> int:
        """Rows that may leave for so many fids without one: overdue ones, and such as are evicted."""
        return int(missing) * (self.spec.expires + (self.spec.on_full == "evict"))

    def _room_for_removals(self, more: Int) -> U64:
        """The list of removals, with room for `more` fids."""
        needed = int(self._arrays.counters[index.REMOVED]) + int(more)
        if needed > self._removed.size:
            self._removed = np.resize(self._removed, max(needed, 2 * self._removed.size))
        return self._removed

    def _drain_removals(self) -> U64:
        drained = self._removed[: int(self._arrays.counters[index.REMOVED])].copy()
        self._arrays.counters[index.REMOVED] = 0
        self._removed = np.empty(_FIRST_REMOVALS, dtype=np.uint64)
        return drained

    def contains(self, fids: U64) -> Bool:
        """Which of fids (uint64[n]) have a row that is not overdue: bool[n]."""
        return self._contains(fids, self.clock_s)

    def _contains(self, fids: U64, clock_s: int) -> Bool:
        fids = as_fids(fids)
        present = np.empty(fids.size, dtype=np.bool_)
        delta.contains(self._reading, self._layout, self._policies, fids, clock_s, present)
        return present

    def inspect(self, fid: int) -> Row | None:
        """The row of one fid, copied, or None where it has none or is overdue."""
        at = delta.row_of(self._reading, self._layout, self._policies, np.uint64(fid))
        if at < 0:
            return None
        base = at * self._layout.stride
        state_at = base + self._layout.state_at
        return Row(
            fid=fid,
            last_seen_s=int(self._arrays.meta[base + self._layout.last_seen_at]),
            weights=self._arrays.words[
                base + self._layout.weights_at : base + self._layout.weights_at + self.spec.width
            ].copy(),
            state=self._arrays.words[state_at : state_at + self._layout.state_width].copy(),
        )

    def begin_seal(self) -> None:
        """End the epoch: what it changed is to be handed over as it is now. Raises SealInProgressError.

        It takes time by the table's size in bits, not in rows; gather() copies the rows out beside
        whatever happens to the table meanwhile, and finish_seal() hands them over.
        """
        self._refuse_while_sealing()
        used = int(self._arrays.counters[index.NEXT_ROW])
        count = int(delta.count_marks(self._arrays.touched, -(-used // 64)))
        self._arrays = with_room(self._arrays, count, self._layout)
        self._sealing = self._drain_removals()
        cut.freeze(self._arrays)
        self._epoch += np.uint32(1)

    def _refuse_while_sealing(self) -> None:
        if self._sealing is not None:
            raise SealInProgressError(
                f"table {self.spec.name!r} is being sealed; gather() it to its end and finish_seal()"
            )

    def gather(self, budget_rows: int) -> bool:
        """Copy up to budget_rows rows of the epoch being sealed; whether all have been copied."""
        cut.gather(self._arrays, self._layout, budget_rows)
        return self.pending_rows == 0

    @property
    def pending_rows(self) -> int:
        """Rows of the epoch being sealed that are still to be gathered."""
        return int(self._arrays.counters[index.PENDING])

    def finish_seal(self) -> TableDelta:
        """What the epoch changed, as new arrays, once gather() has said that it has all.

        Raises SealInProgressError where rows are missing, or no epoch is being sealed.
        """
        missing = self.pending_rows
        if self._sealing is None or missing > 0:
            raise SealInProgressError(
                f"table {self.spec.name!r}: {missing:,} rows are still to be gathered"
                if missing
                else f"table {self.spec.name!r} is not being sealed; begin_seal() first"
            )
        sealed = columns(self._arrays, self._layout, self._sealing)
        self._arrays = with_room(self._arrays, 0, self._layout)
        self._sealing = None
        return sealed

    def seal(self) -> TableDelta:
        """What changed since the last seal, as new arrays; a new epoch begins.

        Raises SealInProgressError.
        """
        self.begin_seal()
        self.gather(self.pending_rows)
        return self.finish_seal()

    def export(self, *, with_overdue: bool = False) -> TableDelta:
        """Every row that is not overdue, as new arrays; what was touched stays touched.

        with_overdue: those too, for a reader that may be taken back with its writer to an earlier
        time, at which they are there again.
        An epoch that is being sealed is none of its business: it shows the rows as they are now.
        """
        used = int(self._arrays.counters[index.NEXT_ROW])
        marks = np.zeros(-(-used // 64), dtype=np.uint64)
        clock_s = 0 if with_overdue else self.clock_s
        count = delta.mark_live(self._arrays, self._layout, self._policies, clock_s, marks)
        arrays = with_room(self._arrays, int(count), self._layout)
        cut.gather_marked(arrays, self._layout, marks)
        return columns(arrays, self._layout, np.empty(0, dtype=np.uint64))

    def apply(self, change: TableDelta) -> None:
        """Take over what another table sealed or exported: removals, then rows in full.

        Raises ShapeError where it is of a table of another shape; then nothing has changed.
        """
        self.check_change(change)
        self.remove(change.removed)
        state = change.state if self._with_state else _NO_VALUES
        self.upsert(change.fids, change.weights, state, change.last_seen_s)

    def check_change(self, change: TableDelta) -> None:
        """Refuse a change that this table could not take over: ShapeError."""
        as_fids(change.removed)
        state = change.state if self._with_state else np.empty((change.fids.size, 0), np.float32)
        check_rows(
            self.spec.name, self._layout, change.fids, change.weights, state, change.last_seen_s
        )

    def load(self, change: TableDelta, *, fresh: bool = False) -> None:
        """As apply, but nothing counts as changed: for rows whose readers have them already.

        fresh: the fids are unique and have no row yet, which is taken on trust and is faster.
        Raises SealInProgressError and ShapeError, and then nothing has changed; TableFullError, and
        then no row was written.
        """
        self._refuse_while_sealing()
        self.check_change(change)
        counters = self._arrays.counters
        listed = int(counters[index.REMOVED])
        self.remove(change.removed)
        counters[index.REMOVED] = listed
        state = change.state if self._with_state else _NO_VALUES
        if not fresh:
            self._write(change.fids, change.weights, state, change.last_seen_s, mark=False)
            counters[index.REMOVED] = listed
            return
        if len(self) + change.fids.size > self._capacity_rows:
            raise TableFullError(self.spec.name, self._capacity_rows)
        delta.load_new(
            self._arrays,
            self._layout,
            as_fids(change.fids),
            for_kernel(change.last_seen_s),
            for_kernel(change.weights).reshape(-1),
            for_kernel(state).reshape(-1),
            scratch()[0],
        )

    def reserve_rows(self, rows: int) -> None:
        """Make the index of an empty table as large as so many rows need; else it grows as ever."""
        counters = self._arrays.counters
        if len(self) > 0:
            return
        lines, low_mask = index.lines_for(min(rows, self._capacity_rows))
        if lines > counters[index.N_LINES]:
            counters[index.N_LINES] = lines
            counters[index.LOW_MASK] = low_mask

    def commit_memory(self, rows: int) -> None:
        """Have the memory of so many rows ready; another thread may be loading them meanwhile."""
        lines = int(self._arrays.counters[index.N_LINES])
        commit(self._arrays.tags, lines * _LINE_BYTES)
        rows = min(rows, self._capacity_rows)
        commit(self._arrays.words, rows * self._layout.stride * _WORD_BYTES)

    def mark_changed(self, fids: U64) -> None:
        """Count fids (uint64[n]) as changed in this epoch: those without a row as removed."""
        fids = as_fids(fids)
        room = self._room_for_removals(fids.size)
        delta.mark_changed(self._arrays, self._layout, fids, self._epoch, room)

    def forget_changes(self) -> None:
        """Begin an epoch in which nothing has changed yet, and hand over nothing of the last.

        Raises SealInProgressError.
        """
        self._refuse_while_sealing()
        self._drain_removals()
        used = int(self._arrays.counters[index.NEXT_ROW])
        self._arrays.touched[: -(-used // 64)] = 0
        self._epoch += np.uint32(1)

    def tally(self) -> TableTally:
        """What has happened in this table."""
        counters = self._arrays.counters
        return TableTally(
            rows_admitted=int(counters[index.ADMITTED]),
            rows_expired=int(counters[index.EXPIRED]),
            rows_evicted=int(counters[index.EVICTED]),
            occurrences_refused=int(counters[index.REFUSED]),
        )

    def carry_on(self, tally: TableTally) -> None:
        """Go on counting from another table's tally."""
        counters = self._arrays.counters
        counters[index.ADMITTED] = tally.rows_admitted
        counters[index.EXPIRED] = tally.rows_expired
        counters[index.EVICTED] = tally.rows_evicted
        counters[index.REFUSED] = tally.occurrences_refused

    def upsert(self, fids: U64, weights: F32, state: F32, last_seen_s: U32) -> None:
        """Write whole rows: weights float32[n, width], state float32[n, state_width].

        Without optimizer state, state is empty. Raises ShapeError, TableFullError; then nothing has
        changed.
        """
        self._write(fids, weights, state, last_seen_s, mark=True)

    def _write(self, fids: U64, weights: F32, state: F32, last_seen_s: U32, *, mark: bool) -> None:
        if state.size == 0 and self._layout.state_width == 0:
            state = state.reshape(fids.size, 0)
        check_rows(self.spec.name, self._layout, fids, weights, state, last_seen_s)
        fids = as_fids(fids)
        self._make_room(fids)
        mixed, found = scratch()
        delta.upsert(
            self._arrays,
            self._layout,
            fids,
            for_kernel(last_seen_s),
            for_kernel(weights).reshape(-1),
            for_kernel(state).reshape(-1),
            self._epoch,
            mark,
            mixed,
            found,
        )

    def remove(self, fids: U64) -> int:
        """Free the rows of fids (uint64[n]), overdue or not; how many had one.

        They count as removed this epoch, but in a replica's table, which never seals one.
        """
        fids = as_fids(fids)
        before = len(self)
        room = self._room_for_removals(fids.size)
        expire.remove_rows(self._arrays, self._layout, fids, room)
        if not self._with_state:
            self._arrays.counters[index.REMOVED] = 0
        return before - len(self)

    def stats(self) -> TableStats:
        """Counts since the table was made, and the memory it has committed."""
        counters = self._arrays.counters
        return TableStats(
            rows=len(self),
            rows_admitted=int(counters[index.ADMITTED]),
            rows_expired=int(counters[index.EXPIRED]),
            rows_evicted=int(counters[index.EVICTED]),
            occurrences_refused=int(counters[index.REFUSED]),
            allocated_bytes=self.allocated_bytes,
        )

    @property
    def allocated_bytes(self) -> int:
        """Bytes in use by rows ever used, index lines, maps of changes and the admission filter."""
        used = int(self._arrays.counters[index.NEXT_ROW])
        lines = int(self._arrays.counters[index.N_LINES])
        rows_bytes = used * self._layout.stride * _WORD_BYTES
        return rows_bytes + lines * _LINE_BYTES + used // 2 + self.admission.allocated_bytes
