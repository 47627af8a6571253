"""The loop of a worker process: stands as the coordinator says, and learns whenever it may."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from ps.errors import (
    CorruptMessageError,
    NotLeadingError,
    PositionGapError,
    ShardUnavailableError,
    StaleGenerationError,
)
from worker.connections import Connections
from worker.ownership import Means, Ownership
from worker.quarantine import Quarantine
from worker.reporting import Reporter
from worker.stages import Stages

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from model.features import FeatureLayout
    from model.model import Model
    from ps.client import RoutingClient
    from ps.clock import Clock
    from ps.coordinator.orders import Assignment, Coordination, WorkerOrders, WorkerPhase
    from ps.directory import Leader
    from worker.connections import Connect
    from worker.ownership import Interruption, OpenStream, WorkerSettings
    from worker.reporting import WorkerIdentity

    # What to do with an ownership whose shards have been taken up; whether the stream has ended.
    Work = Callable[[Ownership, RoutingClient], bool]

logger = logging.getLogger(__name__)

# How often one who has nothing to do looks whether it is to end; orders wake it at once.
_LOOK_S = 0.1
# Between two attempts at shards that fail: twice as long each time, from the first to the last.
_FIRST_PAUSE_S = 0.02
_LAST_PAUSE_S = 1.0
# How often in a row shards may say that what comes does not fit, or that it cannot be read.
_MOST_MISFITS = 20
# What was learned last under an assignment is reported before the next begins; so long at most.
_LAST_REPORT_S = 10.0


class WorkerLoop:
    """One worker, from the start of its process to its end; run() is its thread's.

    What it does follows from the orders at hand, in this precedence: end; let go of an assignment and
    take up another; stand still; learn, from wherever the shards of the directory stand. An assignment
    whose metrics could not be reported in time is let go of all the same.
    """

    def __init__(
        self,
        identity: WorkerIdentity,
        settings: WorkerSettings,
        *,
        connect: Connect,
        open_stream: OpenStream,
        make_model: Callable[[], Model],
        layout: FeatureLayout,
        coordination: Coordination,
        clock: Clock,
    ) -> None:
        """connect: how to reach a leader, of so many shards; no call is made to find out.

        coordination: raises JobBusyError where nobody is reached, within a deadline of its own.
        """
        stages = Stages(clock)
        self.identity = identity
        self._settings = settings
        self._clock = clock
        self._stages = stages
        self._means = Means(
            make_model(), layout, Quarantine(settings.quarantine), open_stream, settings, stages
        )
        self._connections = Connections(connect)
        self._reporter = Reporter(identity, coordination, clock, stages, settings.beat_s)
        self._ownership: Ownership | None = None
        # To whom it was taken up, and whether its stream ended there.
        self._leaders: tuple[Leader | None, ...] = ()
        self._has_ended = False
        # Why nothing more is done under this assignment.
        self._standstill: tuple[WorkerPhase, str | None] | None = None
        self._letting_go_since_s: float | None = None
        self._attempts = self._misfits = self._batches = 0
        self._state_at_s = 0.0
        self._reported_batches = -1

    def run(self, stop: threading.Event) -> None:
        """Work until told to end, by the coordinator or by stop; then what was learned is reported.

        Raises what reporting fails with, other than that the coordinator cannot be reached.
        """
        with self._reporter:
            try:
                while (orders := self._next_orders(stop)) is not None:
                    self._obey(orders, stop)
                self._keep_state()
                self._reporter.deliver(_LOOK_S + self._settings.beat_s)
            finally:
                self._connections.close()

    def _next_orders(self, stop: threading.Event) -> WorkerOrders | None:
        """What is to be done now; None: end."""
        while not stop.is_set():
            orders = self._reporter.orders
            if orders is not None:
                return None if orders.stop else orders
            self._rest(0, _LOOK_S)
        return None

    def _obey(self, orders: WorkerOrders, stop: threading.Event) -> None:
        """The next thing to do by these orders."""
        seen = self._reporter.received
        if orders is not self._reporter.orders:
            return  # there are newer ones
        ownership, assignment = self._ownership, orders.assignment
        if (assignment and assignment.generation) != (
            ownership and ownership.assignment.generation
        ):
            self._change_to(assignment)
            return
        self._letting_go_since_s = None
        leaders = orders.directory.leaders
        if ownership is None or self._standstill is not None:
            phase, error = self._standstill or ("waiting", None)
            self._stand(seen, phase, orders.hold, error)
        elif orders.hold is not None and ownership.is_even and leaders == self._leaders:
            self._stand(seen, "held", orders.hold)
        elif orders.hold is None and self._has_ended and leaders == self._leaders:
            self._stand(seen, "finished")
        elif not orders.directory.is_whole:
            self._stand(seen, "waiting")
        elif orders.hold is not None:
            self._attempt(ownership, orders, seen, self._even_out(orders, stop))
        else:
            self._attempt(ownership, orders, seen, self._learn(orders, stop))

    def _stand(
        self, seen: int, phase: WorkerPhase, hold: int | None = None, error: str | None = None
    ) -> None:
        """Do nothing until there are other orders; for a while."""
        self._keep_state()
        if hold is not None and phase == "waiting":
            phase = "held"
        self._reporter.stand(seen, phase, held=hold, error=error)
        self._rest(seen, _LOOK_S)

    def _rest(self, seen: int, timeout_s: float) -> None:
        with self._stages.spent_on("wait"):
            self._reporter.wait_for_orders(seen, timeout_s)

    def _change_to(self, assignment: Assignment | None) -> None:
        """Let go of one assignment, and take up another.

        The coordinator adds to what is known by then whatever was reported last under the old one:
        that must be all there was.
        """
        now_s = self._clock.monotonic_s()
        if self._ownership is not None:
            self._keep_state()
            if self._letting_go_since_s is None:
                self._letting_go_since_s = now_s
            is_reported = self._reporter.deliver(_LOOK_S)
            if not is_reported and now_s - self._letting_go_since_s < _LAST_REPORT_S:
                return
            if not is_reported:
                logger.warning("what was learned last could not be reported; metrics lack it")
        self._letting_go_since_s = None
        before = self._ownership
        self._ownership, self._has_ended, self._standstill = None, False, None
        self._attempts = self._misfits = 0
        if assignment is None:
            self._reporter.take_up(None, None)
            return
        try:
            self._ownership = Ownership(assignment, self._means, before)
        except Exception as error:
            logger.exception("assignment %d cannot be taken up", assignment.generation)
            # An owner of nothing, that reports what is wrong.
            self._ownership = Ownership(_nothing(assignment), self._means)
            self._standstill = ("failed", str(error))
        self._reporter.take_up(assignment.generation, self._ownership.state)
        self._reported_batches = self._ownership.batches

    def _learn(self, orders: WorkerOrders, stop: threading.Event) -> Work:
        def learn(ownership: Ownership, client: RoutingClient) -> bool:
            return ownership.learn(client, lambda: self._interruption(orders, stop))

        return learn

    def _even_out(self, orders: WorkerOrders, stop: threading.Event) -> Work:
        def even_out(ownership: Ownership, client: RoutingClient) -> bool:
            ownership.even_out(client, lambda: self._interruption(orders, stop))
            return False

        return even_out

    def _attempt(self, ownership: Ownership, orders: WorkerOrders, seen: int, work: Work) -> None:
        """Take the shards up and do this, as long as they let it."""
        leaders = [leader for leader in orders.directory.leaders if leader is not None]
        self._has_ended, self._leaders = False, ()
        suspects: list[int] = []
        try:
            client = ownership.take_up(self._connections.to(leaders), suspects)
            self._leaders = tuple(leaders)
            self._reporter.keep(ownership.state, ownership.counted)
            self._reporter.stand(seen, "learning")
            self._has_ended = work(ownership, client)
            self._attempts = 0
        except (ShardUnavailableError, NotLeadingError) as error:
            self._leaders = ()
            named = [leader.shard for leader in leaders if leader.address in error.where]
            self._pause(ownership, seen, sorted({*suspects, *named}))
        except StaleGenerationError:
            # Others own the partitions by now, and this worker will be told what it owns.
            self._standstill = ("waiting", None)
        except (PositionGapError, CorruptMessageError) as error:
            self._leaders = ()
            self._misfits += 1
            if self._misfits > _MOST_MISFITS and ownership.batches == self._batches:
                self._fail(error)
            else:
                self._pause(ownership, seen, [])
        except Exception as error:  # noqa: BLE001  whatever it is, the coordinator is told
            self._fail(error)

    def _pause(self, ownership: Ownership, seen: int, suspects: list[int]) -> None:
        """Give shards that fail time to be replaced, or to answer again."""
        if ownership.batches != self._batches:
            self._attempts = self._misfits = 0
        self._batches = ownership.batches
        pause_s = min(_LAST_PAUSE_S, _FIRST_PAUSE_S * 2**self._attempts)
        self._attempts += 1
        self._keep_state()
        self._reporter.stand(seen, "waiting", suspects=suspects)
        self._rest(seen, pause_s)

    def _fail(self, error: Exception) -> None:
        logger.error("worker %d failed", self.identity.worker, exc_info=error)
        self._standstill = ("failed", str(error) or repr(error))

    def _interruption(self, orders: WorkerOrders, stop: threading.Event) -> Interruption | None:
        """Between two batches: tell how it goes, and look whether to go on."""
        self._tell()
        now = self._reporter.orders
        if stop.is_set() or now is None or now.stop:
            return "land"
        if now is orders:
            return None
        if now.directory.leaders != orders.directory.leaders:
            return "drop"
        generation = None if now.assignment is None else now.assignment.generation
        own = None if orders.assignment is None else orders.assignment.generation
        return "land" if generation != own or now.hold != orders.hold else None

    def _tell(self) -> None:
        ownership = self._ownership
        if ownership is None or ownership.batches == self._reported_batches:
            return
        self._reporter.count(ownership.examples, ownership.event_ts_us)
        if self._clock.monotonic_s() - self._state_at_s >= self._settings.state_every_s:
            self._keep_state()

    def _keep_state(self) -> None:
        """Have what was learned since reported."""
        ownership = self._ownership
        if ownership is None or ownership.batches == self._reported_batches:
            return
        self._state_at_s = self._clock.monotonic_s()
        self._reported_batches = ownership.batches
        self._reporter.count(ownership.examples, ownership.event_ts_us)
        self._reporter.keep(ownership.state, ownership.counted)


def _nothing(assignment: Assignment) -> Assignment:
    """The same generation, without partitions or a past."""
    return replace(assignment, partitions=(), state=None)
