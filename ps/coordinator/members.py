"""Workers and replicas as they reported last, and what all workers together know of the stream."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ps.clock import Clock
    from ps.coordinator.orders import ReplicaReport, WorkerReport
    from ps.stream import Positions


@dataclass(slots=True)
class _Heard:
    """A report, and when it came."""

    report: WorkerReport
    at_s: float


@dataclass(slots=True)
class _Counting:
    """What goes into the state of the whole job.

    carried: of the restore point, and of assignments that have ended. last: what each worker has last
    said of its assignment. since: assignments below this generation have no part in it: what they did
    has been taken back, or is in `carried` already.
    """

    carried: bytes | None = None
    since: int = 0
    counted: Positions = field(default_factory=dict)
    last: dict[int, WorkerReport] = field(default_factory=dict)


class Members:
    """Takes reports, and keeps what outlasts them. Safe to use from several threads."""

    def __init__(self, merge_states: Callable[[Sequence[bytes]], bytes], clock: Clock) -> None:
        self._merge = merge_states
        self._clock = clock
        self._changed = threading.Condition()
        self._workers: dict[int, _Heard] = {}
        self._replicas: dict[int, tuple[ReplicaReport, float]] = {}
        self._counting = _Counting()

    def reset(self, carried: bytes | None, since: int) -> None:
        """From now on: this state, and what is done under assignments of a generation from `since` on."""
        with self._changed:
            self._counting = _Counting(carried or None, since)

    def note(self, report: WorkerReport) -> None:
        """A worker has said how it stands."""
        with self._changed:
            self._workers[report.worker] = _Heard(report, self._clock.monotonic_s())
            self._count(report)
            self._changed.notify_all()

    def note_replica(self, report: ReplicaReport) -> None:
        """A replica has."""
        with self._changed:
            self._replicas[report.replica] = (report, self._clock.monotonic_s())
            self._changed.notify_all()

    def worker(self, number: int) -> WorkerReport | None:
        """What a worker has last said; None: nothing yet."""
        heard = self._workers.get(number)
        return None if heard is None else heard.report

    def silent_s(self, number: int) -> float:
        """How long ago that was."""
        heard = self._workers.get(number)
        return 0.0 if heard is None else self._clock.monotonic_s() - heard.at_s

    def workers(self) -> dict[int, WorkerReport]:
        """The latest of each, by number."""
        with self._changed:
            return {number: heard.report for number, heard in sorted(self._workers.items())}

    def replicas(self, within_s: float | None = None) -> list[ReplicaReport]:
        """The latest of each, by number; within_s: of those that were heard of in so long."""
        now_s = self._clock.monotonic_s()
        with self._changed:
            return [
                report
                for _, (report, at_s) in sorted(self._replicas.items())
                if within_s is None or now_s - at_s <= within_s
            ]

    def merged(self) -> bytes | None:
        """The state of the whole job, as far as it was reported; None: nothing is known of it."""
        with self._changed:
            counting = self._counting
            states = [counting.carried, *(report.state for report in counting.last.values())]
        known = [state for state in states if state]
        if not known:
            return None
        return known[0] if len(known) == 1 else self._merge(known)

    def wait_counted(self, positions: Mapping[str, int], timeout_s: float) -> bool:
        """Wait until what is reported has counted up to these positions; False: not in time."""

        def has_counted() -> bool:
            counted = self._counting.counted
            return all(counted.get(p, 0) >= at for p, at in positions.items())

        with self._changed:
            return self._changed.wait_for(has_counted, timeout_s)

    def wait_for(self, holds: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for reports until something holds; False: it did not in time."""
        with self._changed:
            return self._changed.wait_for(holds, timeout_s)

    def _count(self, report: WorkerReport) -> None:
        counting = self._counting
        if report.generation is None or report.generation < counting.since:
            return
        before = counting.last.get(report.worker)
        if before is not None and _assignment(before) != _assignment(report):
            # A report of an assignment that has ended, come late: its state is carried already.
            if (before.generation or 0) > report.generation:
                return
            states = [state for state in (counting.carried, before.state) if state]
            if states:
                counting.carried = states[0] if len(states) == 1 else self._merge(states)
        counting.last[report.worker] = report
        for partition, at in report.counted.items():
            counting.counted[partition] = max(at, counting.counted.get(partition, at))


def _assignment(report: WorkerReport) -> tuple[str, int | None]:
    return report.process, report.generation
