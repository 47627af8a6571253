"""The trainer: predicts, judges, learns and accounts for every record, batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.errors import MetricsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from model.batch import Batch
    from ps.arrays import F32
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
    before, in an earlier pass. metrics and quarantine are written here and may be read by others
    between batches.
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
        self.validating = True
        self.examples = 0
        self.batches_dropped = 0
        self._learner = learner
        self._generation = generation
        self._on_batch = on_batch

    def learn(self, prepared: Prepared) -> int:
        """Predict, validate and learn one batch; how many examples were learned from.

        A batch that was applied before is neither learned from nor counted again. Raises what the
        shards raise, and MetricsError; then nothing of the batch has been counted.
        """
        chunk, batch = prepared.chunk, prepared.batch
        groups = self._groups(chunk)
        learned = self._learner.learn(batch, self._generation)
        self.quarantine.add(chunk.rejected)
        if learned.dropped is not None:
            self.batches_dropped += self.quarantine.drop_batch(chunk.span, learned.dropped)
            return 0
        if learned.probabilities is None or batch.labels is None:
            return 0
        if self.validating:
            self.metrics.update(learned.probabilities, batch.labels, batch.event_ts_us, groups)
        self.examples += batch.size
        if self._on_batch is not None:
            self._on_batch(chunk, batch, learned.probabilities)
        return batch.size

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
