"""What a run learns into: the shards, the learner over them, and what is known of the stream."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ps.client import RoutingClient
from worker.event_time_guard import EventTimeGuard
from worker.learners import BatchLearner, ExampleLearner
from worker.metrics.progressive import ProgressiveMetrics
from worker.preparation import prepare
from worker.quarantine import Quarantine
from worker.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cluster.plan import Plan
    from model.batch import Batch
    from ps.clock import Clock
    from ps.shard import Shard
    from worker.events import EventChunk
    from worker.learners import Learned, Learner
    from worker.preparation import Prepared
    from worker.trainer import BatchObserver

_US = 1_000_000


class _Locked:
    """A learner that holds the shards' lock while it learns, and no longer: observers may wait."""

    def __init__(self, learner: Learner, lock: threading.Lock) -> None:
        self._learner = learner
        self._lock = lock

    def learn(self, batch: Batch, generation: int) -> Learned:
        """See Learner."""
        with self._lock:
            return self._learner.learn(batch, generation)


class Learning:
    """The shards with everything that is replaced with them when a job goes back or on elsewhere.

    The training thread's own. lock: held while the shards change; whoever else must look at them
    takes it.
    """

    def __init__(
        self, plan: Plan, shards: Sequence[Shard], clock: Clock, on_batch: BatchObserver | None
    ) -> None:
        self.lock = threading.Lock()
        self.shards = list(shards)
        self.client = RoutingClient(self.shards)
        self.guard = (
            None
            if plan.train.max_jump_s is None
            else EventTimeGuard(round(plan.train.max_jump_s * _US))
        )
        self.metrics = ProgressiveMetrics(plan.train.metrics)
        self._plan = plan
        self._clock = clock
        self.trainer = Trainer(
            _Locked(self._learner(), self.lock),
            self.metrics,
            Quarantine(plan.train.quarantine),
            on_batch=on_batch,
        )

    def prepared(self, chunks: Iterator[EventChunk]) -> Iterator[Prepared]:
        """Batches of the chunks, to learn from."""
        return prepare(chunks, self._plan.examples, self.guard, self._clock)

    def _learner(self) -> Learner:
        layout = self._plan.examples.features.layout
        if self._plan.train.grain == "example":
            return ExampleLearner(layout, self.shards[0])
        return BatchLearner(self._plan.make_model(), layout, self.client)
