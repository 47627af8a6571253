"""The actor of the coordinator: has the job's processes started, commands them, tells how it goes."""

from __future__ import annotations

import logging
import threading
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

import xxhash

from cluster.errors import ProcessStartError
from cluster.fleet.crew import JobCrew
from cluster.fleet.job_plan import job_plan
from cluster.fleet.knowledge import PlanKnowledge
from cluster.fleet.report import Glance, Outcome, Seen, metrics_of, progress_of, stages_of, state_of
from cluster.fleet.seated import settle
from cluster.fleet.seats import RayFleet
from ps.admin.server import AdminServer
from ps.clock import SystemClock
from ps.coordinator.coordinator import Coordinator
from ps.coordinator.status import shard_statuses
from ps.coordinator.target import ClusterTarget
from ps.errors import JobBusyError, PortableError, PsError, StoreError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.fleet.shipping import Shipped
    from cluster.progress import RunProgress
    from ps.admin.target import ShardStatus, TableStatus
    from ps.coordinator.orders import ReplicaOrders, ReplicaReport, WorkerOrders, WorkerReport
    from ps.store.resume import GoOnFrom

logger = logging.getLogger(__name__)

# Kernels are compiled in every process; the first time on a machine that takes its time.
_COMPILE_S = 240.0
# Who runs already says so at once; who does not is waited for beside everything else.
_ADOPT_S = 3.0
_SAY_S = 1.0
# How often the shards are looked at for those who watch.
_LOOK_S = 1.0
_AGAIN_S = 2.0
# How long workers and replicas have to end in order: a replica finishes calls under way.
_END_S = 20.0
_MOST_SAID = 10_000


class CoordinatorActor:
    """For ray.remote, with many threads: every member may have a report under way.

    Where Ray starts it again it takes over from the store and from who runs.
    """

    def __init__(self, job: Shipped, token: str, wanted: GoOnFrom) -> None:
        """token: of the job's data services. wanted: what a fresh start goes on from. Raises what
        resolving the job does.
        """
        import ray

        settle()
        self._job = job
        self._plan = job.plan(source=True)
        if self._plan.store is None:
            raise ValueError("a job without a store was shipped")
        self._is_successor = bool(ray.get_runtime_context().was_current_actor_reconstructed)
        self._process = uuid.uuid4().hex
        self._clock = SystemClock()
        self._job_plan = job_plan(self._plan, wanted)
        self._said: list[str] = []
        crew = JobCrew(job, self._plan.store.url, token)
        self._fleet = RayFleet(job.name, self._plan.cluster, crew, self._clock, self._say)
        self._coordinator: Coordinator | None = None
        self._admin: AdminServer | None = None
        self._step: str | None = "starting"
        self._failure: Exception | None = None
        self._tables: dict[int, list[TableStatus]] = {}
        self._began_s = self._clock.monotonic_s()
        self._examples_before = 0
        self._finishing = threading.Lock()
        self._outcome: Outcome | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._begin, name="begin", daemon=True).start()

    def job(self) -> Shipped:
        """What it runs."""
        return self._job

    def work(self, report: WorkerReport) -> WorkerOrders:
        """See Coordination."""
        return self._in_charge().work(report)

    def serve(self, report: ReplicaReport) -> ReplicaOrders:
        """See Coordination."""
        return self._in_charge().serve(report)

    def look(self, process: str | None, seen: int) -> Glance:
        """How the job stands, with what was said since so many messages of this process, or all."""
        coordinator = self._coordinator
        ended = coordinator is not None and coordinator.is_finished
        failure = self._failure
        if failure is None and coordinator is not None and coordinator.failure is not None:
            failure = RuntimeError(coordinator.failure)
        progress = None
        if self._step is None and coordinator is not None:
            progress = self._progress(shard_statuses(coordinator), ended=ended)
        return Glance(
            process=self._process,
            step=self._step,
            said=tuple(self._said[seen if process == self._process else 0 :]),
            progress=progress,
            ended=ended,
            failure=failure,
            serving=self._serving(),
            admin=None if self._admin is None else self._admin.address,
            stages=stages_of(
                () if coordinator is None else coordinator.job.members.workers().values()
            ),
        )

    def finish(self, *, digest: bool = False) -> Outcome:
        """End the job in order, and say what it came to; again: the same.

        1. hold the workers, save, and tell workers and replicas to end
        2. look at the shards as they stand now
        3. wait until workers and replicas have ended
        """
        with self._finishing:
            if self._outcome is None:
                coordinator = self._in_charge()
                ended = coordinator.is_finished
                self._fleet.let_go()
                unsaved = None
                try:
                    coordinator.stop()  # 1
                except StoreError as error:
                    unsaved = str(error)
                self._outcome = self._result(coordinator, ended, unsaved, digest)  # 2
                self._fleet.wait_ended(_END_S)  # 3
                if self._admin is not None:
                    self._admin.stop()
                self._fleet.close()
                self._ended.set()
            return self._outcome

    def stay(self) -> None:
        """Return once the job has ended in order."""
        self._ended.wait()

    def _in_charge(self) -> Coordinator:
        if self._coordinator is None:
            raise JobBusyError("the coordinator is starting; try again")
        return self._coordinator

    def _begin(self) -> None:
        """Start; where this takes over from a coordinator before, until it succeeds."""
        while True:
            try:
                self._start()
            except Exception as error:
                logger.exception("the coordinator could not start")
                if not self._is_successor or not isinstance(error, PsError):
                    self._failure = _portable(error)
                    return
                self._say(f"{error}; tried again")
                threading.Event().wait(_AGAIN_S)
            else:
                return

    def _start(self) -> None:
        """Start the job, or take it over:

        1. claim the store, before anybody is started for nothing
        2. have the processes started, or find those that run
        3. command them; wait until every shard is led
        4. let operators in
        """
        plan, limit_s = self._plan, self._plan.cluster.start_timeout_s
        self._step = f"opening {self._job_plan.store.url}"
        coordinator = Coordinator(  # 1
            self._job_plan,
            self._fleet,
            clock=self._clock,
            say=self._say,
            successor=self._is_successor,
        )
        try:
            state = state_of(coordinator.job.members.merged())
            self._examples_before = 0 if state is None else state.examples
            self._fleet.start()  # 2
            if self._is_successor:
                self._fleet.wait_up(_ADOPT_S)
            else:
                self._wait_up(coordinator, limit_s + _COMPILE_S)
            self._step = "restoring the shards"
            coordinator.start()  # 3
            self._coordinator = coordinator
            if not self._is_successor:
                coordinator.wait_whole(limit_s + _COMPILE_S)
        except BaseException:
            self._coordinator = None
            coordinator.abandon()
            coordinator.job.keeping.close()
            raise
        self._tell_idle()
        if plan.admin is not None:
            target = ClusterTarget(coordinator, PlanKnowledge(plan))
            admin = AdminServer(target, plan.admin.settings())
            admin.start()  # 4
            coordinator.job.keeping.announce(admin.address)
            self._admin = admin
        self._began_s = self._clock.monotonic_s()
        threading.Thread(target=self._look_at_tables, name="look", daemon=True).start()
        self._step = None

    def _wait_up(self, coordinator: Coordinator, limit_s: float) -> None:
        """Raises ProcessStartError, and FencedError where somebody else has taken the store over."""
        until_s = self._clock.monotonic_s() + limit_s
        everybody = len(self._fleet.members)
        while missing := self._fleet.wait_up(_SAY_S):
            # A start may take minutes; who writes would be anybody's guess after one.
            with suppress(StoreUnavailableError):
                coordinator.job.keeping.check()
            up = everybody - len(missing)
            self._step = f"starting processes and compiling kernels: {up} of {everybody} are up"
            for member in missing:
                if member.is_broken:
                    raise ProcessStartError(member.name, member.fault or "its process ended")
            if self._clock.monotonic_s() >= until_s:
                why = missing[0].fault or f"no sign of it in {limit_s:g} s"
                raise ProcessStartError(missing[0].name, why)

    def _tell_idle(self) -> None:
        workers, partitions = self._fleet.workers, len(self._plan.source.partitions())
        if workers > partitions:
            self._say(
                f"{workers} workers for {partitions} partition(s) of the stream: "
                f"{workers - partitions} of them have nothing to do but stand in for others"
            )

    def _look_at_tables(self) -> None:
        pause = threading.Event()
        while not self._ended.is_set():
            self._look_once()
            pause.wait(_LOOK_S)

    def _look_once(self) -> None:
        """Ask the leaders for their tables; of one that is being replaced, what it said last counts."""
        coordinator = self._in_charge()
        for shard, led in coordinator.job.leaders.all().items():
            with suppress(PsError):
                self._tables[shard] = led.seat.port.tables()

    def _progress(
        self, statuses: Sequence[ShardStatus], *, ended: bool, stopped: bool = False
    ) -> RunProgress:
        coordinator = self._in_charge()
        state = state_of(coordinator.job.members.merged())
        shards = range(coordinator.job.shards)
        return progress_of(
            Seen(
                shards=statuses,
                tables=[one for shard in shards for one in self._tables.get(shard, ())],
                workers=[*coordinator.job.members.workers().values()],
                replicas=[report.status for report in coordinator.job.members.replicas()],
                store=coordinator.job.keeping.status(),
            ),
            state,
            metrics_of(state, self._plan.train.metrics),
            elapsed_s=self._clock.monotonic_s() - self._began_s,
            examples_before=self._examples_before,
            ended=ended,
            stopped=stopped,
        )

    def _result(
        self, coordinator: Coordinator, ended: bool, unsaved: str | None, digest: bool
    ) -> Outcome:
        self._look_once()
        shards = [led.seat.port.hello().status for led in coordinator.job.leaders.all().values()]
        state = state_of(coordinator.job.members.merged())
        return Outcome(
            progress=self._progress(
                [one for one in shards if one is not None], ended=ended, stopped=not ended
            ),
            metrics=metrics_of(state, self._plan.train.metrics).to_dict(),
            digest=self._digest(coordinator) if digest else None,
            unsaved=unsaved,
        )

    def _digest(self, coordinator: Coordinator) -> str:
        """As LocalRun.digest(): over the shards, in order."""
        digest = xxhash.xxh3_128()
        for _, led in sorted(coordinator.job.leaders.all().items()):
            digest.update(led.seat.port.digest().encode())
        return digest.hexdigest()

    def _serving(self) -> tuple[str, ...]:
        if self._coordinator is None:
            return ()
        reports = self._coordinator.job.members.replicas()
        return tuple(report.status.address for report in reports if report.status.address)

    def _say(self, message: str) -> None:
        """Once, however often in a row."""
        if self._said[-1:] != [message] and len(self._said) < _MOST_SAID:
            self._said.append(message)


def _portable(error: Exception) -> Exception:
    """An error that survives being sent to whoever asks."""
    return (
        error
        if isinstance(error, PortableError)
        else RuntimeError(f"{type(error).__name__}: {error}")
    )
