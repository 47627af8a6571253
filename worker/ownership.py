"""The partitions that a worker owns under one assignment, and all it does to learn from them.

How shards that may each stand elsewhere come to have every record once, whoever sent what before:

1. have every shard refuse what former owners still send
2. read where the shards stand
3. read the stream from the oldest of these positions, no batch straddling any of them
4. push, in order; a shard ignores what it has applied

After any failure this begins again at 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ps.client import RoutingClient
from ps.errors import NotLeadingError, ShardUnavailableError
from worker.ledger import Ledger
from worker.metrics.progressive import MetricsSpec, ProgressiveMetrics
from worker.pipeline import Outcome, PipelinedLearner, looked_up
from worker.prefetch import IDLE, Prefetcher
from worker.sources.again import name_in_pass
from worker.state import WorkerState
from worker.step import span_of
from worker.trail import GuardTrail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from model.features import FeatureLayout
    from model.model import Model
    from ps.coordinator.orders import Assignment
    from ps.handle import ShardHandle
    from ps.store.commit import Skips
    from ps.stream import Positions, Span
    from worker.event_time_guard import GuardState
    from worker.pipeline import Ready
    from worker.preparation import Prepared
    from worker.quarantine import Quarantine
    from worker.stages import Stages

    Cuts = Mapping[str, Sequence[int]]
    # Passes that are left: number, and batches to learn from.
    Passes = Iterator[tuple[int, Iterator[Prepared]]]
    # From these positions, without these ranges, of these partitions by their names in the first
    # pass, with what the event-time guard knows at that place.
    OpenStream = Callable[[Cuts, Skips, Sequence[str], GuardState | None], Passes]
    # land: wait for what is under way. drop: some of it will not come back.
    Interruption = Literal["land", "drop"]

# How long to wait for the stream before looking whether there is something else to do.
_QUIET_S = 0.02
# Calls that were given up have a deadline of their own, ten seconds as a rule.
_SWEEP_S = 15.0


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How a worker learns. quarantine: its own file for rejected records; None: they are only counted.

    staleness: see PipelinedLearner. passes: over the source. beat_s: between two reports.
    state_every_s: how old what is reported of metrics may be.
    """

    metrics: MetricsSpec
    quarantine: Path | None = None
    prefetch_batches: int = 2
    staleness: int = 0
    passes: int = 1
    beat_s: float = 0.25
    state_every_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Means:
    """What a worker process learns with, whatever it owns; model and quarantine are one thread's own."""

    model: Model
    layout: FeatureLayout
    quarantine: Quarantine
    open_stream: OpenStream
    settings: WorkerSettings
    stages: Stages


class Ownership:
    """One assignment; one thread's own.

    Metrics begin at nothing; what was counted when the assignment was made is not counted again.
    interruption() is asked between any two batches whether to go on (None).
    """

    def __init__(
        self, assignment: Assignment, means: Means, before: Ownership | None = None
    ) -> None:
        """before: what was owned until now; pushes of it that are in doubt, of partitions that stay,
        are counted here once that is known. Raises WorkerStateError where the assignment's state is none.
        """
        known = None if assignment.state is None else WorkerState.decode(assignment.state)
        self.assignment = assignment
        self.event_ts_us = 0
        self.batches = 0
        self._means = means
        self._ledger = Ledger(ProgressiveMetrics(means.settings.metrics), means.quarantine)
        self._ledger.begin_at(known)
        self._trail = GuardTrail(None if known is None else known.guard)
        self._cuts: Cuts = {}
        # Whether all shards have taken all that was pushed since they were last looked at.
        self._is_settled = False
        self._uneven: dict[str, int] = {}
        # Pushes of which nobody knows, with what was predicted when they were made.
        self._doubts: dict[Span, Outcome] = {}
        self._left_behind: PipelinedLearner | None = None
        if before is not None:
            doubts, self._left_behind = before.let_go()
            names = set(self._names())
            self._doubts = {span: o for span, o in doubts.items() if span.partition in names}

    @property
    def state(self) -> WorkerState:
        """What has become of the partitions under this assignment: a copy."""
        return self._ledger.state()

    @property
    def counted(self) -> Positions:
        """By partition, up to where nothing is left to count: what all shards had when they were taken
        up was counted by whoever pushed it, or by nobody.
        """
        counted = dict(self._ledger.positions)
        for name in self._names():
            if name in self._cuts:
                counted[name] = max(self._cuts[name][0], counted.get(name, 0))
        return counted

    @property
    def examples(self) -> int:
        """Learned from under this assignment."""
        return self._ledger.examples

    @property
    def is_even(self) -> bool:
        """Whether all shards that were taken up stand at the same positions, nothing being under way."""
        return self._is_settled and not self._uneven

    def take_up(self, shards: Sequence[ShardHandle], suspects: list[int]) -> RoutingClient:
        """Be the owner at these shards, and know where they stand; see 1 and 2 above.

        suspects: is given the numbers of those that do not answer. Raises what shards raise.
        """
        self._is_settled = False
        if self._left_behind is not None:
            self._left_behind.sweep(_SWEEP_S)
            self._left_behind = None
        _fence(shards, self._names(), self.assignment.generation, suspects)  # 1
        client = RoutingClient(shards)
        self._cuts = client.resume_cuts()  # 2
        own = set(self._names())
        self._uneven = {
            name: cuts[-1] for name, cuts in self._cuts.items() if name in own and len(cuts) > 1
        }
        self._settle_doubts()
        self._is_settled = True
        return client

    def let_go(self) -> tuple[dict[Span, Outcome], PipelinedLearner | None]:
        """What is in doubt, and what may still have pushes under way."""
        return self._doubts, self._left_behind

    def learn(self, client: RoutingClient, interruption: Callable[[], Interruption | None]) -> bool:
        """Learn to the end of the partitions (True), or to an interruption.

        After take_up(), once. Raises what the shards raise, and what reading the stream raises,
        once all that came before has been learned.
        """
        return self._learn(self._open(self.assignment.partitions), client, interruption)

    def even_out(
        self, client: RoutingClient, interruption: Callable[[], Interruption | None]
    ) -> None:
        """Give the shards what others have and they lack, and nothing beyond; as learn()."""
        limits = dict(self._uneven)
        for partition in self.assignment.partitions:
            if any(name in limits for name in self._names_of(partition)):
                passes = _up_to(self._open([partition]), limits)
                if not self._learn(passes, client, interruption):
                    return

    def _names(self) -> list[str]:
        return [name for one in self.assignment.partitions for name in self._names_of(one)]

    def _names_of(self, partition: str) -> list[str]:
        """What it is called in each pass."""
        return [name_in_pass(partition, n) for n in range(self._means.settings.passes)]

    def _open(self, partitions: Sequence[str]) -> Passes:
        guard = self._trail.rewind(self._cuts)
        return self._means.open_stream(  # 3
            self._cuts, self.assignment.skips, partitions, guard
        )

    def _learn(
        self,
        passes: Passes,
        client: RoutingClient,
        interruption: Callable[[], Interruption | None],
    ) -> bool:
        means = self._means
        for number, batches in passes:
            # A second look at an example flatters the model.
            self._ledger.validating = number == 0
            learner = PipelinedLearner(
                means.model,
                client,
                staleness=means.settings.staleness,
                generation=self.assignment.generation,
                stages=means.stages,
            )
            try:
                with Prefetcher(
                    looked_up(batches, means.layout), depth=means.settings.prefetch_batches
                ) as ahead:
                    has_ended = self._follow(ahead, learner, interruption)
            finally:
                self._leave(learner)
            if not has_ended:
                return False
        return True

    def _follow(
        self,
        ahead: Prefetcher[Ready],
        learner: PipelinedLearner,
        interruption: Callable[[], Interruption | None],
    ) -> bool:
        """Learn what is read ahead, to its end (True) or to an interruption."""
        while (reason := interruption()) is None:
            try:
                ready = None if learner.is_full else self._read(ahead, learner)
            except StopIteration:
                self._finish(learner)
                return True
            except Exception:
                self._finish(learner)
                raise
            if ready is not None:
                self._trail.note(span_of(ready.prepared.batch), ready.prepared.guard)
                learner.offer(ready)
                if not learner.is_full:
                    continue
            if learner.has_next:
                learner.advance()  # 4
            self._account(learner.collect())
        if reason == "land":
            learner.land()
            self._account(learner.collect())
        return False

    def _read(self, ahead: Prefetcher[Ready], learner: PipelinedLearner) -> Ready | None:
        """The next batch; what can be computed does not wait for it."""
        with self._means.stages.spent_on("read"):
            ready = ahead.next_within(0.0 if learner.has_next else _QUIET_S)
        return None if ready is IDLE else ready

    def _finish(self, learner: PipelinedLearner) -> None:
        """Learn all that was offered."""
        while learner.has_next:
            learner.advance()
            self._account(learner.collect())
        learner.land()
        self._account(learner.collect())

    def _leave(self, learner: PipelinedLearner) -> None:
        settled, doubtful = learner.close()
        self._account(settled)
        for outcome in doubtful:
            # What was predicted first was predicted before anything of the batch was learned.
            self._doubts.setdefault(span_of(outcome.prepared.batch), outcome)
        if doubtful:
            self._is_settled = False
            self._left_behind = learner

    def _account(self, outcomes: Iterable[Outcome]) -> None:
        for prepared, learned in outcomes:
            span = span_of(prepared.batch)
            first = self._doubts.pop(span, None)
            self._ledger.account(prepared, learned if first is None else first.learned)
            self.event_ts_us = max(self.event_ts_us, int(prepared.batch.event_ts_us.max(initial=0)))
            self.batches += 1
            if span.end >= self._uneven.get(span.partition, span.end + 1):
                del self._uneven[span.partition]

    def _settle_doubts(self) -> None:
        """Count what turns out to have been applied by all shards, though none has said so."""
        for span, outcome in list(self._doubts.items()):
            if span.end <= self._cuts.get(span.partition, (0,))[0]:
                self._account([outcome])


def _fence(
    shards: Sequence[ShardHandle], names: Sequence[str], generation: int, suspects: list[int]
) -> None:
    """Have every shard that answers refuse earlier owners; raises for those that do not."""
    failure: ShardUnavailableError | NotLeadingError | None = None
    for number, shard in enumerate(shards):
        try:
            shard.fence(dict.fromkeys(names, generation))
        except (ShardUnavailableError, NotLeadingError) as error:
            suspects.append(number)
            failure = error
    if failure is not None:
        raise failure


def _up_to(passes: Passes, limits: Mapping[str, int]) -> Passes:
    """The batches before these positions, in passes that have any."""
    for number, batches in passes:
        yield number, _before(batches, limits)


def _before(batches: Iterator[Prepared], limits: Mapping[str, int]) -> Iterator[Prepared]:
    """No batch straddles a limit, so the first beyond is the end."""
    try:
        for prepared in batches:
            span = prepared.chunk.span
            if span.end > limits.get(span.partition, 0):
                return
            yield prepared
    finally:
        close = getattr(batches, "close", None)
        if close is not None:
            close()
