"""The ledger: every record of the stream accounted for once, whatever becomes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from worker.errors import MetricsError
from worker.quarantine import QuarantineState
from worker.state import WorkerState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from model.batch import Batch
    from ps.arrays import F32
    from ps.stream import Positions
    from worker.event_time_guard import GuardState
    from worker.events import EventChunk
    from worker.metrics.groups import GroupKeys
    from worker.metrics.progressive import ProgressiveMetrics
    from worker.preparation import Prepared
    from worker.quarantine import Quarantine
    from worker.step import Learned

    # Sees every batch that was learned from, with the predictions made before.
    BatchObserver = Callable[[EventChunk, Batch, F32], None]


class Ledger:
    """What became of the stream so far: metrics, quarantine, positions; one thread's own.

    validating: whether predictions count in the metrics; not where the examples were learned from
    before, in an earlier pass. positions: by partition, up to where batches have been accounted for;
    where a shard is younger than that, what it is sent again is learned by it and counted by nobody.
    metrics and quarantine are written here and may be read by others between batches.
    """

    def __init__(
        self,
        metrics: ProgressiveMetrics,
        quarantine: Quarantine,
        *,
        on_batch: BatchObserver | None = None,
    ) -> None:
        self.metrics = metrics
        self.quarantine = quarantine
        self.validating = True
        self.examples = 0
        self.batches_dropped = 0
        self.positions_skipped = 0
        self.positions: Positions = {}
        self._guard: GuardState | None = None
        self._on_batch = on_batch

    def account(self, prepared: Prepared, learned: Learned) -> int:
        """Take down what became of a batch; how many examples were learned from.

        A batch that was applied before is not counted again. Raises MetricsError; then nothing of
        the batch has been counted.
        """
        return self._account(prepared, learned, self.groups_of(prepared.chunk))

    def state(self) -> WorkerState:
        """All that is known, as of the last batch accounted for: a copy."""
        return WorkerState(
            metrics=self.metrics.to_dict(),
            guard=self._guard,
            quarantine=self.quarantine.state,
            positions=dict(self.positions),
            examples=self.examples,
            batches_dropped=self.batches_dropped,
            positions_skipped=self.positions_skipped,
        )

    def restore(self, state: WorkerState) -> list[str]:
        """Go on from there, in place of what is here; the guard is whoever prepares batches' to restore.

        Returns what starts afresh, each in words: metrics whose settings have changed since.
        """
        self.quarantine.restore(state.quarantine)
        self.positions = dict(state.positions)
        self.examples = state.examples
        self.batches_dropped = state.batches_dropped
        self.positions_skipped = state.positions_skipped
        self._guard = state.guard
        try:
            return self.metrics.restore(state.metrics)
        except MetricsError as error:
            return [f"all metrics ({error})"]

    def begin_at(self, state: WorkerState | None) -> None:
        """Count from nothing, but nothing again that was counted up to there; None: the beginning."""
        self.metrics.clear()
        self.examples = self.batches_dropped = self.positions_skipped = 0
        self.positions = {} if state is None else dict(state.positions)
        self._guard = None if state is None else state.guard
        counted = QuarantineState() if state is None else state.quarantine
        self.quarantine.restore(
            replace(counted, records=0, dropped_batches=0, dropped_positions=0, reasons={})
        )

    def groups_of(self, chunk: EventChunk) -> Mapping[str, GroupKeys] | None:
        """The columns that metrics are grouped by. Raises MetricsError where one is missing."""
        names = self.metrics.spec.group_by
        known = chunk.columns.schema.names
        for name in names:
            if name not in known:
                raise MetricsError(
                    f"group_by names {name!r}, which is no column of {chunk.span.partition}; its "
                    f"columns are {', '.join(known)}"
                )
        return {name: chunk.columns.column(name) for name in names} if names else None

    def _account(
        self, prepared: Prepared, learned: Learned, groups: Mapping[str, GroupKeys] | None
    ) -> int:
        chunk, batch = prepared.chunk, prepared.batch
        self._guard = prepared.guard
        self.quarantine.add(chunk.rejected)
        is_new = self._move_to(chunk)
        if learned.dropped is not None:
            self.batches_dropped += self.quarantine.drop_batch(chunk.span, learned.dropped)
            return 0
        if not is_new or learned.probabilities is None or batch.labels is None:
            return 0
        if self.validating:
            self.metrics.update(learned.probabilities, batch.labels, batch.event_ts_us, groups)
        self.examples += batch.size
        if self._on_batch is not None:
            self._on_batch(chunk, batch, learned.probabilities)
        return batch.size

    def _move_to(self, chunk: EventChunk) -> bool:
        """Account for the chunk's positions; False where that was done before."""
        span = chunk.span
        if span.end <= self.positions.get(span.partition, 0):
            return False
        self.positions[span.partition] = span.end
        self.positions_skipped += chunk.skipped
        return True
