"""Supervision: what is no longer as it should be, and who sees to it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ps.errors import PsError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ps.coordinator.job import Job
    from ps.coordinator.leaders import Led
    from ps.coordinator.leadership import Leadership
    from ps.coordinator.standbys import Standbys
    from ps.host.port import HostStatus

# Processes are looked at that often, and whenever something happens.
LOOK_S = 1.0
# One that does not answer within that time is not waited for; it is not taken for dead, either.
_GLANCE_S = 2.0
# A leader that is suspected must answer within that time.
_ANSWER_S = 3.0
# Replicas that have not changed over to other shards after so long have to begin anew.
_RETIRE_S = 60.0
_REPORTED_WITHIN_S = 10.0


class Supervisor:
    """step() looks at everything once; it never waits for long. seen: processes of shards, by seat."""

    def __init__(self, job: Job, leadership: Leadership, standbys: Standbys) -> None:
        self._job = job
        self._leadership = leadership
        self._standbys = standbys
        self._changing = threading.Lock()
        self._suspects: set[int] = set()
        self._retire_by_s: float | None = None
        self._told: str | None = None
        self.seen: dict[str, HostStatus] = {}

    def suspect(self, shards: Iterable[int]) -> None:
        """Somebody gets no answer from the leaders of these."""
        with self._changing:
            self._suspects.update(shards)
        self._job.woken.set()

    def retire(self) -> None:
        """End what is beyond the shards there are, once no replica needs it."""
        self._retire_by_s = self._job.clock.monotonic_s() + _RETIRE_S

    def run(self) -> None:
        """A thread's: until the coordinator stops."""
        job = self._job
        while not job.stopped.is_set():
            job.woken.wait(LOOK_S)
            job.woken.clear()
            if job.stopped.is_set():
                return
            try:
                self.step()
            except PsError as error:
                if not job.has_been_replaced(error):
                    self._tell(str(error))
            except Exception as error:  # noqa: BLE001  # told, and tried again
                self._tell(f"supervision: {type(error).__name__}: {error}")
            else:
                self._told = None

    def watch(self) -> None:
        """A thread's: wakes the other, and whoever looks for a leader, when a process came or went."""
        job = self._job
        while not job.stopped.is_set():
            if job.fleet.wait_for_change(LOOK_S):
                job.woken.set()
                self._leadership.look_again()

    def step(self) -> None:
        """Look once:

        see to shards without a leader; ask every process how it stands; then see to standbys,
        partitions, and processes that nobody needs. Raises FencedError; StoreUnavailableError is told,
        and tried again.
        """
        if not self._leadership.is_suspended:
            for shard in range(self._job.shards):
                self._review_leader(shard)
        self.look()
        if not self._leadership.is_suspended:
            self._standbys.review(self.seen)
        try:
            self._job.ownership.review()
        except StoreUnavailableError as error:
            self._tell(str(error))
        self._review_retiring()

    def look(self) -> None:
        """Ask every process how it stands."""
        job = self._job
        seats = {
            seat.name: seat
            for shard in range(job.shards)
            for seat in job.fleet.seats(shard)
            if seat.process is not None
        }
        said = job.fanout.each("glance", seats, lambda _, seat: seat.port.hello(), _GLANCE_S)
        fit = {
            name: status
            for name, status in said.results.items()
            if self._leadership.admits(seats[name], status)
        }
        for status in fit.values():
            if status.cursor is not None:
                job.numbering.note(status.cursor.epoch)
        # Of those that did not answer just now, what they said last.
        late = {name: self.seen[name] for name in said.errors if name in self.seen}
        self.seen = {**late, **fit}

    def _review_leader(self, shard: int) -> None:
        job = self._job
        led = job.leaders.of(shard)
        with self._changing:
            is_suspect = shard in self._suspects
            self._suspects.discard(shard)
        if self._leadership.is_at(shard):
            return
        if led is None:
            self._leadership.ensure(shard)
        elif not led.is_up:
            job.say(f"shard {shard}: its leader {led.seat.name} is gone")
            self._leadership.ensure(shard)
        elif is_suspect and not self._leads(shard, led):
            job.say(f"shard {shard}: its leader {led.seat.name} does not answer")
            self._leadership.ensure(shard, avoid=led.process)

    def _leads(self, shard: int, led: Led) -> bool:
        """Whether a leader says of itself that it is one."""
        said = self._job.fanout.each(
            "is it there", {shard: led.seat}, lambda _, seat: seat.port.hello(), _ANSWER_S
        )
        status = said.results.get(shard)
        return (
            status is not None
            and (status.process, status.role) == (led.process, "leading")
            and (status.shard, status.shards) == (shard, self._job.shards)
        )

    def _review_retiring(self) -> None:
        by_s, job = self._retire_by_s, self._job
        if by_s is None:
            return
        replicas = job.members.replicas(_REPORTED_WITHIN_S)
        changed_over = sum(one.shards == job.shards for one in replicas)
        if changed_over >= job.fleet.replicas or job.clock.monotonic_s() > by_s:
            self._retire_by_s = None
            job.fleet.retire(job.shards)

    def _tell(self, message: str) -> None:
        if message != self._told:
            self._told = message
            self._job.say(message)
