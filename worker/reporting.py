"""Telling the coordinator how the worker stands, and keeping what it says: a thread of its own."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from ps.coordinator.orders import WorkerReport
from ps.errors import JobBusyError
from worker.errors import WorkerStateError
from worker.rate import RecentRate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ps.clock import Clock
    from ps.coordinator.orders import Coordination, WorkerOrders, WorkerPhase
    from ps.stream import Positions
    from worker.stages import Stages
    from worker.state import WorkerState

# The thread may be in a call that has a deadline of its own.
_CLOSE_S = 5.0


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """Who reports. worker: its number. The rest as in WorkerReport."""

    worker: int
    process: str
    node: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class _Standing:
    """How the worker stands, as its learning thread said last."""

    phase: WorkerPhase = "waiting"
    generation: int | None = None
    state: WorkerState | None = None
    counted: Positions = field(default_factory=dict)
    examples: int = 0
    event_ts_us: int = 0
    held: int | None = None
    suspects: tuple[int, ...] = ()
    error: str | None = None


@dataclass(slots=True)
class _Encoded:
    """The last state that was reported, as bytes."""

    state: WorkerState | None = None
    data: bytes | None = field(default=None, repr=False)

    def of(self, state: WorkerState | None) -> bytes | None:
        if state is not self.state:
            self.data = None if state is None else state.encode()
            self.state = state
        return self.data


class Reporter:
    """Reports every beat_s whatever the learning thread does, and at once when that is of note.

    Where the coordinator cannot be reached, what it said last holds. Whether the worker has finished, or
    is held, is said by the orders that the last report was answered with: from new orders on it is
    waiting, until it stands as they say. A context manager of the thread that learns, whose methods
    these are.
    """

    def __init__(
        self,
        identity: WorkerIdentity,
        coordination: Coordination,
        clock: Clock,
        stages: Stages,
        beat_s: float,
    ) -> None:
        self._identity = identity
        self._coordination = coordination
        self._clock = clock
        self._stages = stages
        self._beat_s = beat_s
        self._changed = threading.Condition()
        self._standing = _Standing()
        self._orders: WorkerOrders | None = None
        self._received = self._begun = self._delivered = 0
        self._is_urgent = self._closed = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(_CLOSE_S)

    @property
    def orders(self) -> WorkerOrders | None:
        """What the coordinator said last; None before it has said anything.

        Raises what reporting failed with, other than that the coordinator cannot be reached.
        """
        with self._changed:
            if self._failure is not None:
                raise self._failure
            return self._orders

    @property
    def received(self) -> int:
        """How many orders that said something new have come; to be handed to wait_for_orders."""
        return self._received

    def wait_for_orders(self, seen: int, timeout_s: float) -> bool:
        """Wait for orders beyond the first `seen`; False where none came in time."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._received > seen or self._failure is not None, timeout_s
            )

    def take_up(self, generation: int | None, state: WorkerState | None) -> None:
        """From now on report under this assignment, None: under none; state: with which it begins."""
        with self._changed:
            counted = {} if state is None else dict(state.positions)
            self._standing = _Standing(generation=generation, state=state, counted=counted)

    def stand(
        self,
        seen: int,
        phase: WorkerPhase,
        *,
        held: int | None = None,
        suspects: Sequence[int] = (),
        error: str | None = None,
    ) -> None:
        """The worker now stands so, by the first `seen` orders; what is new is reported at once.

        No effect where there are newer orders, by which it may have to stand otherwise.
        """
        with self._changed:
            if seen != self._received:
                return
            before = self._standing
            self._standing = replace(
                before, phase=phase, held=held, suspects=tuple(suspects), error=error
            )
            if self._standing != before:
                self._is_urgent = True
                self._changed.notify_all()

    def count(self, examples: int, event_ts_us: int) -> None:
        """Examples learned from under this assignment, and the largest event time among them."""
        with self._changed:
            self._standing = replace(self._standing, examples=examples, event_ts_us=event_ts_us)

    def keep(self, state: WorkerState, counted: Positions) -> None:
        """What has become of the stream, as of now: copies that nobody changes any more.

        counted: up to where nobody has anything left to count.
        """
        with self._changed:
            self._standing = replace(self._standing, state=state, counted=counted)

    def deliver(self, timeout_s: float) -> bool:
        """Have what has been said until now reported; False where it was not in time."""
        with self._changed:
            number = self._begun + 1
            self._is_urgent = True
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._delivered >= number or self._failure is not None, timeout_s
            )
            return self._delivered >= number

    def _run(self) -> None:
        rate, encoded, counted = RecentRate(), _Encoded(), 0
        try:
            while True:
                with self._changed:
                    if self._closed:
                        return
                    self._is_urgent = False
                    self._begun += 1
                    standing = self._standing
                learned = standing.examples - counted
                counted = standing.examples
                # Under another assignment counting begins at nothing.
                rate.add(max(0, learned), self._clock.monotonic_s())
                reached = self._report(standing, encoded, rate.per_s or 0.0)
                with self._changed:
                    self._changed.wait_for(
                        # Whoever cannot be reached is not pressed.
                        lambda: (self._is_urgent and reached) or self._closed,  # noqa: B023
                        self._beat_s,
                    )
        except BaseException as error:  # noqa: BLE001  raised in the thread that learns
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _report(self, standing: _Standing, encoded: _Encoded, examples_per_s: float) -> bool:
        """Report this, and take in the answer; False where nobody was reached."""
        number, state = self._begun, standing.state
        phase, error = standing.phase, standing.error
        try:
            data = encoded.of(state)
        except WorkerStateError as fault:
            data, phase, error = None, "failed", str(fault)
        identity = self._identity
        report = WorkerReport(
            worker=identity.worker,
            process=identity.process,
            node=identity.node,
            fingerprint=identity.fingerprint,
            phase=phase,
            generation=standing.generation,
            state=data,
            counted=standing.counted,
            examples=standing.examples,
            examples_per_s=examples_per_s,
            event_ts_us=standing.event_ts_us,
            held=standing.held,
            suspects=standing.suspects,
            stages=self._stages.seconds,
            error=error,
        )
        try:
            orders = self._coordination.work(report)
        except JobBusyError:
            return False
        with self._changed:
            self._delivered = number
            known = self._orders
            # Of a coordinator that has been replaced since, nothing is taken.
            outdated = known is not None and orders.directory.version < known.directory.version
            if not outdated and orders != known:
                self._orders = orders
                self._received += 1
                if self._standing.phase in ("finished", "held"):
                    self._standing = replace(self._standing, phase="waiting", held=None)
            self._changed.notify_all()
        return True
