"""What a run learns into: the shards, the learner over them, and what is known of the stream."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from cluster.local.stream import passes
from ps.client import RoutingClient
from worker.event_time_guard import EventTimeGuard, GuardState
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
    from ps.shard import Shard, ShardSpec
    from ps.store.commit import Skips
    from worker.learners import Learner
    from worker.ledger import BatchObserver
    from worker.preparation import Prepared
    from worker.state import WorkerState
    from worker.step import Learned

_US = 1_000_000


class Learning:
    """The shards with everything that is replaced with them when a job goes back or on elsewhere.

    The training thread's own. lock: held while the shards change; whoever else must look at them
    takes it. skips: ranges of the stream that are left out.
    """

    def __init__(
        self, plan: Plan, shards: Sequence[Shard], clock: Clock, on_batch: BatchObserver | None
    ) -> None:
        self.lock = threading.Lock()
        self.shards = list(shards)
        self.client = RoutingClient(self.shards)
        self.skips: Skips = {}
        self.metrics = ProgressiveMetrics(plan.train.metrics)
        self._plan = plan
        self._clock = clock
        self._guard_state = GuardState()
        self._swapped = _Swapped(self._learner(), self.lock)
        self.trainer = Trainer(
            self._swapped, self.metrics, Quarantine(plan.train.quarantine), on_batch=on_batch
        )

    @property
    def specs(self) -> list[ShardSpec]:
        """What the shards are, by number."""
        return [shard.spec for shard in self.shards]

    def replace(self, shards: Sequence[Shard], generation: int) -> None:
        """Learn into these shards from now on, as the owner of the stream at this generation."""
        with self.lock:
            self.shards[:] = shards
            self.client = RoutingClient(self.shards)
            self._swapped.learner = self._learner()
        self.trainer.generation = generation

    def restore(self, state: WorkerState, skips: Skips) -> list[str]:
        """Go on from what was known of the stream once; what starts afresh, in words."""
        self.skips = skips
        self._guard_state = state.guard or GuardState()
        return self.trainer.restore(state)

    def rewind_guard(self, state: GuardState | None) -> None:
        """Judge event times as at an earlier place, from which the stream is read again."""
        self._guard_state = state or GuardState()

    def open_stream(self) -> Iterator[tuple[int, Iterator[Prepared]]]:
        """The passes that are left, from where the shards stand: number, and batches to learn from."""
        max_jump_s = self._plan.train.max_jump_s
        guard = None if max_jump_s is None else EventTimeGuard(round(max_jump_s * _US))
        if guard is not None:
            guard.restore(self._guard_state)
        for number, chunks in passes(self._plan, self.client.resume_cuts(), self.skips):
            yield number, prepare(chunks, self._plan.examples, guard, self._clock)

    def learn(self, prepared: Prepared) -> int:
        """Learn from a batch; from how many examples."""
        learned = self.trainer.learn(prepared)
        self._guard_state = prepared.guard or self._guard_state
        return learned

    def rows(self) -> dict[str, int]:
        """Rows by table, over all shards."""
        names = [table.name for table in self.shards[0].spec.tables]
        return {name: sum(len(shard.table(name)) for shard in self.shards) for name in names}

    def _learner(self) -> Learner:
        layout = self._plan.examples.features.layout
        if self._plan.train.grain == "example":
            return ExampleLearner(layout, self.shards[0])
        return BatchLearner(self._plan.make_model(), layout, self.client)


class _Swapped:
    """The learner of the shards at hand, under their lock; observers may wait without it."""

    def __init__(self, learner: Learner, lock: threading.Lock) -> None:
        self.learner = learner
        self._lock = lock

    def learn(self, batch: Batch, generation: int) -> Learned:
        """See Learner."""
        with self._lock:
            return self.learner.learn(batch, generation)
