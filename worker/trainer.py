"""The trainer: predicts, judges, learns and accounts for every record, batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.ledger import Ledger

if TYPE_CHECKING:
    from worker.learners import Learner
    from worker.ledger import BatchObserver
    from worker.metrics.progressive import ProgressiveMetrics
    from worker.preparation import Prepared
    from worker.quarantine import Quarantine


class Trainer(Ledger):
    """Progressive validation around a learner; one thread's own.

    generation: of this worker's ownership of the stream.
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
        super().__init__(metrics, quarantine, on_batch=on_batch)
        self.generation = generation
        self._learner = learner

    def learn(self, prepared: Prepared) -> int:
        """Predict, validate and learn one batch; how many examples were learned from.

        A batch that was applied before is neither learned from nor counted again. Raises what the
        shards raise, and MetricsError; then nothing of the batch has been counted.
        """
        groups = self.groups_of(prepared.chunk)
        learned = self._learner.learn(prepared.batch, self.generation)
        return self._account(prepared, learned, groups)
