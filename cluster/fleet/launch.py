"""Starting a job on a cluster, finding one that runs there, and ending it with all that is its own."""

from __future__ import annotations

import secrets
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cluster.errors import JobNotRunningError, JobRunningError, RunError, UnsavedError
from cluster.fleet.connect import ANSWER_S, connected
from cluster.fleet.head import head_watched
from ps.clock import SystemClock
from ps.errors import PsError, ShardUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from cluster.fleet.report import Glance, Outcome
    from cluster.fleet.shipping import Shipped
    from cluster.progress import RunProgress
    from ps.clock import Clock
    from ps.store.resume import GoOnFrom

_LOOK_S = 0.25
_LOOK_DEADLINE_S = 10.0
# Ray starts a coordinator again in seconds; on another machine, once that one is given up.
_LOST_S = 180.0
# Workers come to rest, everything is saved, replicas finish their calls, shards are hashed.
_FINISH_S = 600.0
_GONE_S = 20.0


class ClusterRun:
    """A job on a cluster that this process is connected to. One thread's.

    attached: it ran already. has_begun: it learns, or has; failed: it will not. say: told what a person
    should know; step: what is being done before it learns.
    """

    def __init__(
        self,
        job: Shipped,
        *,
        attached: bool,
        say: Callable[[str], None],
        step: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self.job = job
        self.attached = attached
        self.has_begun = self.failed = False
        self._say = say
        self._step = step
        self._clock = clock
        # The coordinator's process, and how many of its messages have been passed on.
        self._heard: tuple[str | None, int] = (None, 0)
        self._told_serving: set[str] = set()
        self._told_admin: str | None = None
        self._told_step: str | None = None

    def follow(
        self,
        stop: threading.Event,
        on_progress: Callable[[RunProgress], None],
        *,
        hold: bool = False,
    ) -> Glance | None:
        """Tell how it goes until the stream ends, or stop is set; with hold, until stop is set.

        Returns the last look at it. Raises what the job failed with before it learned, RunError where
        it has been ended by somebody else or its coordinator is gone for good.
        """
        glance: Glance | None = None
        lost_since_s: float | None = None
        while not stop.is_set():
            try:
                glance = self._look()
            except ShardUnavailableError as error:
                now_s = self._clock.monotonic_s()
                self._check_there(0.0 if lost_since_s is None else now_s - lost_since_s)
                if lost_since_s is None:
                    lost_since_s = now_s
                    so = "; training goes on meanwhile" if self.has_begun else " yet"
                    self._say(f"{error.where} does not answer{so}")
            else:
                if lost_since_s is not None:
                    lost_since_s = None
                    self._say("the coordinator answers again")
                if self._tell(glance, on_progress) and not hold:
                    return glance
            stop.wait(_LOOK_S)
        return glance

    def finish(self, *, digest: bool = False) -> Outcome:
        """End the job in order; what it came to. Raises RunError where it cannot be ended so."""
        from cluster.fleet.actors import find_coordinator
        from cluster.fleet.calls import call

        try:
            outcome: Outcome = call(
                "the coordinator",
                find_coordinator(self.job.name),
                "finish",
                _FINISH_S,
                digest=digest,
            )
        except PsError as error:
            raise UnsavedError(
                f"{self.job.name} could not be ended in order, and goes on from its newest restore "
                f"point next time: {error}"
            ) from error
        return outcome

    def _look(self) -> Glance:
        from cluster.fleet.actors import find_coordinator
        from cluster.fleet.calls import call

        handle = find_coordinator(self.job.name)
        glance: Glance = call("the coordinator", handle, "look", _LOOK_DEADLINE_S, *self._heard)
        return glance

    def _check_there(self, lost_s: float) -> None:
        from cluster.fleet.actors import find_coordinator

        if find_coordinator(self.job.name) is None:
            raise RunError(
                f"{self.job.name} has been ended by somebody else (trilith stop, or another driver)"
            )
        if lost_s >= _LOST_S:
            raise RunError(
                f"the coordinator of {self.job.name} has not answered for {_LOST_S:g} s; see whether "
                "the cluster is well and has room for it. The job goes on from its newest restore point"
            )

    def _tell(self, glance: Glance, on_progress: Callable[[RunProgress], None]) -> bool:
        """Whether there is nothing more to wait for."""
        for message in glance.said:
            self._say(message)
        before = self._heard[1] if self._heard[0] == glance.process else 0
        self._heard = (glance.process, before + len(glance.said))
        if glance.step is not None:
            if glance.failure is not None:
                self.failed = True
                raise glance.failure
            if glance.step != self._told_step:
                self._told_step = glance.step
                self._step(glance.step)
            return False
        self.has_begun = True
        if glance.admin is not None and glance.admin != self._told_admin:
            self._told_admin = glance.admin
            self._say(f"ps-admin reaches this job at {glance.admin}")
        # A new coordinator has not heard of the replicas yet.
        if glance.serving and set(glance.serving) != self._told_serving:
            self._told_serving = set(glance.serving)
            self._say(f"serving {self.job.name} on {', '.join(glance.serving)}")
        if glance.progress is not None:
            on_progress(glance.progress)
        return glance.ended or glance.failure is not None


@contextmanager
def running(
    job: Shipped,
    address: str,
    *,
    wanted: GoOnFrom,
    say: Callable[[str], None],
    step: Callable[[str], None],
    answer_s: float = ANSWER_S,
    show_logs: bool = False,
    clock: Clock | None = None,
) -> Iterator[ClusterRun]:
    """Have a job run on the cluster at an address; when the block ends, nothing of it is left.

    1. connect
    2. where this very job runs there already, attach to it, and start nothing
    3. else start it, once every machine was seen to be able to take part and has given it room

    Where the block or a step fails, what this call started is ended; a job that it attached to goes
    on. Where this process is killed, the job goes on. Raises ClusterUnreachableError, JobRunningError,
    UnfitNodesError, ClusterTooSmallError, StoreError.
    """
    clock = clock or SystemClock()
    step(f"connecting to {address}")
    with (
        connected(address, deadline_s=answer_s, show_logs=show_logs) as head,  # 1
        head_watched(head, say, clock),
    ):
        attached = _is_running(job, wanted)  # 2
        run = ClusterRun(job, attached=attached, say=say, step=step, clock=clock)
        if attached:
            say(f"{job.name} runs on this cluster already: attached to it; Ctrl-C stops it")
            try:
                yield run
            except BaseException as error:
                if run.failed or isinstance(error, UnsavedError):
                    end_all(job.name, clock)
                raise
            end_all(job.name, clock)
            return
        try:
            _start(job, wanted, say, step, clock)  # 3
            yield run
        finally:
            step("ending the job's processes")
            end_all(job.name, clock)


@contextmanager
def stopping(
    name: str, address: str, *, answer_s: float = ANSWER_S, clock: Clock | None = None
) -> Iterator[Callable[[], Outcome | None]]:
    """A job that runs on a cluster, to be ended: by the callable in order, by the block's end anyway.

    The callable returns None where there were only leftovers of it. Raises ClusterUnreachableError,
    JobNotRunningError, UnsavedError.
    """
    clock = clock or SystemClock()
    with connected(address, deadline_s=answer_s):
        from cluster.fleet.actors import find_coordinator, names_of
        from cluster.fleet.calls import call
        from cluster.fleet.placement import rooms_held

        handle = find_coordinator(name)
        if handle is None and not names_of(name) and not rooms_held(name):
            raise JobNotRunningError(name)

        def finish() -> Outcome | None:
            if handle is None:
                return None
            job: Any = call("the coordinator", handle, "job", _LOOK_DEADLINE_S)
            run = ClusterRun(job, attached=True, say=_nobody, step=_nobody, clock=clock)
            return run.finish()

        try:
            yield finish
        finally:
            end_all(name, clock)


def end_all(job: str, clock: Clock | None = None) -> None:
    """End every actor of a job and give its room back. Raises RunError where some is left."""
    from cluster.fleet.actors import end, names_of
    from cluster.fleet.placement import release, wait_released

    clock = clock or SystemClock()
    until_s, pause = clock.monotonic_s() + _GONE_S, threading.Event()
    while names := names_of(job):
        # The coordinator first: it would have the others made anew.
        for name in names:
            end(name)
        if clock.monotonic_s() >= until_s:
            raise RunError(
                f"{', '.join(names)} could not be ended; look at them with: ray list actors"
            )
        pause.wait(_LOOK_S)
    release(job)
    if not wait_released(job, clock):
        raise RunError(f"room of {job} is still reserved; look at it: ray list placement-groups")


def _is_running(job: Shipped, wanted: GoOnFrom) -> bool:
    """Whether this very job runs already. Raises JobRunningError where another of its name does."""
    from cluster.fleet.actors import find_coordinator
    from cluster.fleet.calls import call

    handle = find_coordinator(job.name)
    if handle is None:
        return False
    try:
        other: Shipped = call("the coordinator", handle, "job", _LOOK_DEADLINE_S)
    except ShardUnavailableError as error:
        raise JobRunningError(job.name, f"its coordinator does not answer ({error.why})") from error
    difference = other.difference(job)
    if difference is None and (wanted.epoch is not None or wanted.reset):
        difference = "goes on from where it stands; --from and --reset are for a start"
    if difference is not None:
        raise JobRunningError(job.name, difference)
    return True


def _start(
    job: Shipped,
    wanted: GoOnFrom,
    say: Callable[[str], None],
    step: Callable[[str], None],
    clock: Clock,
) -> None:
    """Start a job:

    1. end what a driver has left that was killed before there was a coordinator
    2. see that every machine can take part
    3. reserve room for all processes
    4. start the coordinator, which starts the rest
    """
    from cluster.fleet.actors import make_coordinator
    from cluster.fleet.coordinator import CoordinatorActor
    from cluster.fleet.placement import reserve, rooms_of
    from cluster.fleet.probe import check_nodes

    plan = job.plan(source=False)
    if plan.store is None:
        raise RunError("on a cluster a job needs a store; add store: {url: ...} to the job file")
    end_all(job.name, clock)  # 1
    step("asking every machine for its code, its Python and the store")
    nodes = check_nodes(plan.store.url, clock=clock)  # 2
    step(f"reserving room on {nodes} machine(s)")
    cluster = plan.cluster
    reserve(rooms_of(job.name, cluster), cluster.start_timeout_s, say, clock)  # 3
    step("starting the coordinator")
    arguments = (job, secrets.token_hex(16), wanted)
    make_coordinator(job.name, CoordinatorActor, arguments, cluster.coordinator_needs)  # 4


def _nobody(message: str) -> None:
    del message
