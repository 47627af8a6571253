"""The trainer: predicts, judges, learns and accounts for every record, batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.errors import MetricsError
from worker.state import WorkerState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from model.batch import Batch
    from ps.arrays import F32
    from ps.stream import Positions
    from worker.event_time_guard import GuardState
    from worker.events import EventChunk
    from worker.learners import Learner
    from worker.metrics.groups import GroupKeys
    from worker.metrics.progressive import ProgressiveMetrics
    from worker.preparation import Prepared
    from worker.quarantine import Quarantine

    # Sees every batch that was learned from, with the predictions made before.
    BatchObserver = Callable[[EventChunk, Batch, F32], None]


class Trainer:
    """Progressive validation around a learner; one thread's own.

    validating: whether predictions count in the metrics; not where the examples were learned from
    before, in an earlier pass. generation: of this worker's ownership of the stream. positions: by
    partition, up to where batches have been accounted for; where a shard is younger than that, what
    it is sent again is learned by it and counted by nobody. metrics and quarantine are written here
    and may be read by others between batches.
    """

    def __init__(
        self,
        learner: Learner,
        metrics: ProgressiveMetrics,
        quarantine: Quarantine,
        *,
        generation: int = 0,
        on_batch: BatchObserver | None = None,
    ) -> None:
        self.metrics = metrics
        self.quarantine = quarantine
        self.generation = generation
        self.validating = True
        self.examples = 0
        self.batches_dropped = 0
        self.positions_skipped = 0
        self.positions: Positions = {}
        self._guard: GuardState | None = None
        self._learner = learner
        self._on_batch = on_batch

    def learn(self, prepared: Prepared) -> int:
        """Predict, validate and learn one batch; how many examples were learned from.

        A batch that was applied before is neither learned from nor counted again. Raises what the
        shards raise, and MetricsError; then nothing of the batch has been counted.
        """
        chunk, batch = prepared.chunk, prepared.batch
        groups = self._groups(chunk)
        learned = self._learner.learn(batch, self.generation)
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

    def state(self) -> WorkerState:
        """All of this but the parameters, as of the last batch learned: a copy."""
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

    def _move_to(self, chunk: EventChunk) -> bool:
        """Account for the chunk's positions; False where that was done before."""
        span = chunk.span
        if span.end <= self.positions.get(span.partition, 0):
            return False
        self.positions[span.partition] = span.end
        self.positions_skipped += chunk.skipped
        return True

    def _groups(self, chunk: EventChunk) -> Mapping[str, GroupKeys] | None:
        names = self.metrics.spec.group_by
        known = chunk.columns.schema.names
        for name in names:
            if name not in known:
                raise MetricsError(
                    f"group_by names {name!r}, which is no column of {chunk.span.partition}; its "
                    f"columns are {', '.join(known)}"
                )
        return {name: chunk.columns.column(name) for name in names} if names else None
