"""The table as others see it: it pulls, pushes and learns here, and all else in its modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ps.admission import AdmissionFilter
from ps.kernels import index, logistic, pull, push
from ps.kernels.optimize import FTRL_PROXIMAL, HYPER_WIDTH
from ps.table import bulk, counts
from ps.table.arrays import as_fids, for_kernel, scratch
from ps.table.checks import check_examples, check_gradients
from ps.table.policies import slot_policies
from ps.table.room import make_room, rows_too_many
from ps.table.rows import Rows
from ps.table.sealing import Sealing, export

if TYPE_CHECKING:
    from ps.arrays import F32, U32, U64, Bool
    from ps.block import TableDelta, TableTally
    from ps.dense import DenseSpec
    from ps.messages import LogisticExamples, RowGradients, TableStats
    from ps.table.rows import Row
    from ps.table.spec import TableSpec

_NO_VALUES: F32 = np.empty(0, dtype=np.float32)


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
        policies = slot_policies(spec, seed, self.admission)
        settings = policies.hyper.reshape(-1, HYPER_WIDTH)
        # What ps.kernels.logistic asks of a table for its faster path; examples must fit it too.
        self._can_step_side_by_side = spec.optimizer.kind == FTRL_PROXIMAL and bool(
            (settings == settings[0]).all()
        )
        self._rows = Rows(spec, policies, with_state=with_state)
        self._sealing = Sealing(self._rows)

    def __len__(self) -> int:
        """Rows in memory: with those that are overdue and have not been given back yet."""
        return len(self._rows)

    def pull(self, fids: U64) -> F32:
        """The weights of fids (uint64[n]) as a new float32[n, width]. No side effect.

        A fid without a row reads as its initial value, or as zeros where its slot has admission.
        """
        return self.pull_counted(fids)[0]

    def pull_counted(self, fids: U64) -> tuple[F32, int]:
        """As pull, and how many of the fids have no row."""
        rows = self._rows
        fids = as_fids(fids)
        out = np.empty((fids.size, rows.layout.width), dtype=np.float32)
        mixed, found = scratch()
        missing = pull.pull(
            rows.reading, rows.layout, rows.policies, fids, out.reshape(-1), mixed, found
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
            rows_too_many(self._rows, fids, max(now_s, self._rows.clock_s))

    def check_examples(self, examples: LogisticExamples, *, now_s: int = 0) -> None:
        """Refuse examples that could not be learned from at now_s: ShapeError, TableFullError."""
        check_examples(self.spec, examples)
        self.check_room(examples.fids, now_s=now_s)

    def push(self, gradients: RowGradients, *, now_s: int, salt: int = 0) -> tuple[int, int]:
        """One optimizer step for each unique fid; makes the rows that are now admitted.

        now_s: event time in seconds. salt: tells this push from others in Poisson admission.
        Returns (rows created, occurrences refused). The caller has called check().
        """
        rows = self._rows
        fids = as_fids(gradients.fids)
        grads = for_kernel(gradients.grads).reshape(-1)
        mixed, found = scratch()
        missing = np.empty(fids.size, dtype=np.int64)
        now_s = self._advance(now_s)
        if self.spec.on_full == "error":
            make_room(rows, fids)
        n_missing = push.push_found(
            rows.arrays,
            rows.layout,
            rows.policies,
            fids,
            grads,
            now_s,
            rows.epoch,
            mixed,
            found,
            missing,
        )
        counters = rows.arrays.counters
        admitted, refused = int(counters[index.ADMITTED]), int(counters[index.REFUSED])
        push.push_missing(
            rows.arrays,
            rows.layout,
            rows.policies,
            fids,
            grads,
            for_kernel(gradients.counts),
            now_s,
            np.uint64(salt),
            rows.epoch,
            missing,
            n_missing,
            rows.capacity_rows,
            rows.room_for_removals(rows.most_removals(n_missing)),
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
        rows = self._rows
        spec, words, hyper = variable
        fids = as_fids(examples.fids)
        longest = int(np.diff(examples.offsets).max(initial=0))
        probabilities = np.empty(examples.labels.size, dtype=np.float32)
        mixed, found = scratch()
        now_s = self._advance(now_s)
        if self.spec.on_full == "error":
            make_room(rows, fids)
        logistic.learn_logistic(
            rows.arrays,
            rows.layout,
            rows.policies,
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
            rows.epoch,
            rows.capacity_rows,
            rows.room_for_removals(rows.most_removals(fids.size)),
            mixed,
            found,
            np.empty(longest, dtype=np.int64),
            np.empty(3 * longest, dtype=np.float32),
            self._can_step_side_by_side and examples.distinct and examples.values is None,
            probabilities,
        )
        return probabilities

    @property
    def clock_s(self) -> int:
        """The table's event time, in seconds."""
        return self._rows.clock_s

    def advance_clock(self, now_s: int) -> None:
        """Move the table's event time, in seconds; time that runs backwards is ignored."""
        self._rows.advance_clock(now_s)

    def set_clock(self, now_s: int) -> None:
        """Set the table's event time, also back: for a reader whose writer has gone back.

        Rows that had been overdue are there again, where nobody has given them back.
        """
        self._rows.set_clock(now_s)

    def _advance(self, now_s: int) -> int:
        """Move table and filter to a push's time; the time it then happens at."""
        self._rows.advance_clock(now_s)
        clock_s = self._rows.clock_s
        self.admission.advance(clock_s)
        return clock_s

    def expire(self, *, now_s: int, budget_rows: int) -> int:
        """Look at budget_rows rows and free those that are overdue by now_s; how many went.

        To everybody else they had gone when the clock passed their time; this gives back the memory.
        """
        self._rows.advance_clock(now_s)
        return self._rows.expire(budget_rows)

    def contains(self, fids: U64) -> Bool:
        """Which of fids (uint64[n]) have a row that is not overdue: bool[n]."""
        return self._rows.contains(fids, self._rows.clock_s)

    def inspect(self, fid: int) -> Row | None:
        """The row of one fid, copied, or None where it has none or is overdue."""
        return self._rows.inspect(fid)

    def begin_seal(self) -> None:
        """End the epoch: what it changed is to be handed over as it is now. Raises SealInProgressError.

        It takes time by the table's size in bits, not in rows; gather() copies the rows out beside
        whatever happens to the table meanwhile, and finish_seal() hands them over.
        """
        self._sealing.begin()

    def gather(self, budget_rows: int) -> bool:
        """Copy up to budget_rows rows of the epoch being sealed; whether all have been copied."""
        return self._sealing.gather(budget_rows)

    @property
    def pending_rows(self) -> int:
        """Rows of the epoch being sealed that are still to be gathered."""
        return self._sealing.pending_rows

    def finish_seal(self) -> TableDelta:
        """What the epoch changed, as new arrays, once gather() has said that it has all.

        Raises SealInProgressError where rows are missing, or no epoch is being sealed.
        """
        return self._sealing.finish()

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
        return export(self._rows, with_overdue=with_overdue)

    def apply(self, change: TableDelta) -> None:
        """Take over what another table sealed or exported: removals, then rows in full.

        Raises ShapeError where it is of a table of another shape; then nothing has changed.
        """
        bulk.apply(self._rows, change)

    def check_change(self, change: TableDelta) -> None:
        """Refuse a change that this table could not take over: ShapeError."""
        bulk.check_change(self._rows, change)

    def load(self, change: TableDelta, *, fresh: bool = False) -> None:
        """As apply, but nothing counts as changed: for rows whose readers have them already.

        fresh: the fids are unique and have no row yet, which is taken on trust and is faster.
        Raises SealInProgressError and ShapeError, and then nothing has changed; TableFullError, and
        then no row was written.
        """
        self._sealing.refuse_while_sealing()
        bulk.load(self._rows, change, fresh=fresh)

    def reserve_rows(self, rows: int) -> None:
        """Make the index of an empty table as large as so many rows need; else it grows as ever."""
        self._rows.reserve_rows(rows)

    def commit_memory(self, rows: int) -> None:
        """Have the memory of so many rows ready; another thread may be loading them meanwhile."""
        self._rows.commit_memory(rows)

    def mark_changed(self, fids: U64) -> None:
        """Count fids (uint64[n]) as changed in this epoch: those without a row as removed."""
        bulk.mark_changed(self._rows, fids)

    def forget_changes(self) -> None:
        """Begin an epoch in which nothing has changed yet, and hand over nothing of the last.

        Raises SealInProgressError.
        """
        self._sealing.forget_changes()

    def tally(self) -> TableTally:
        """What has happened in this table."""
        return counts.tally(self._rows)

    def carry_on(self, tally: TableTally) -> None:
        """Go on counting from another table's tally."""
        counts.carry_on(self._rows, tally)

    def upsert(self, fids: U64, weights: F32, state: F32, last_seen_s: U32) -> None:
        """Write whole rows: weights float32[n, width], state float32[n, state_width].

        Without optimizer state, state is empty. Raises ShapeError, TableFullError; then nothing has
        changed.
        """
        bulk.upsert(self._rows, fids, weights, state, last_seen_s)

    def remove(self, fids: U64) -> int:
        """Free the rows of fids (uint64[n]), overdue or not; how many had one.

        They count as removed this epoch, but in a replica's table, which never seals one.
        """
        return self._rows.remove(fids)

    def stats(self) -> TableStats:
        """Counts since the table was made, and the memory it has committed."""
        return counts.stats(self._rows, self.allocated_bytes)

    @property
    def allocated_bytes(self) -> int:
        """Bytes in use by rows ever used, index lines, maps of changes and the admission filter."""
        return self._rows.allocated_bytes + self.admission.allocated_bytes
