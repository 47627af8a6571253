"""Leadership: every shard has one process that learns, whichever of them dies."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ps.coordinator.choosing import Candidate, choose
from ps.coordinator.job import to_be_sent
from ps.coordinator.leaders import Led
from ps.directory import Leader
from ps.errors import (
    CorruptFileError,
    FileMissingError,
    JobBusyError,
    PsError,
    ShardUnavailableError,
    SpecError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ps.block import Cursor
    from ps.coordinator.choosing import Choice
    from ps.coordinator.fleet import ShardSeat
    from ps.coordinator.job import Job
    from ps.host.port import HostStatus
    from ps.shard_spec import ShardSpec
    from ps.store.commit import Commit

# A process that does not say hello in so long is not chosen.
HELLO_S = 5.0
_FIRST_RETRY_S = 0.05
_MOST_RETRY_S = 1.0
# Restoring keeps a thread waiting, and as many may be restored at once.
_AT_ONCE = 256


class Leadership:
    """Has shards led, each in a thread of its own until it is. Safe to use from several threads."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="lead")
        self._changed = threading.Condition()
        self._wanted: dict[int, bool] = {}  # what is under way: may what is there be kept?
        self._busy = 0
        self._suspended = 0
        self._changes = 0
        self.sources: dict[int, str] = {}
        self.errors: dict[int, str] = {}

    def ensure(self, shard: int, *, may_keep: bool = True, avoid: str | None = None) -> None:
        """Have a shard led, by another process than that of `avoid` if there is one; returns at once.

        may_keep: False: from the newest restore point, whatever processes hold. Where that is under
        way already: no effect, but that what is there may not be kept any more.
        """
        with self._changed:
            if shard in self._wanted:
                self._wanted[shard] = self._wanted[shard] and may_keep
                return
            self._wanted[shard] = may_keep
        self._pool.submit(self._until_led, shard, avoid)

    def is_at(self, shard: int) -> bool:
        """Whether a leader is being looked for."""
        return shard in self._wanted

    def look_again(self) -> None:
        """A process came or went: whoever waits to try again does so now."""
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    @property
    def is_suspended(self) -> bool:
        """Whether somebody holds it back."""
        return self._suspended > 0

    @contextmanager
    def suspended(self, timeout_s: float) -> Iterator[None]:
        """Nobody is made a leader meanwhile but by the caller; waits for what is under way.

        Raises JobBusyError where that takes longer.
        """
        with self._changed:
            self._suspended += 1
        try:
            with self._changed:
                if not self._changed.wait_for(lambda: self._busy == 0, timeout_s):
                    raise JobBusyError(
                        f"a shard is being replaced for more than {timeout_s:g} s; look at the job's "
                        "status, and try again once all shards are there"
                    )
            yield
        finally:
            with self._changed:
                self._suspended -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Begin nothing more; does not wait."""
        with self._changed:
            self._changed.notify_all()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def candidates(self, shard: int) -> list[Candidate]:
        """The processes of a shard that answer and may be used."""
        job = self._job
        seats = {seat.name: seat for seat in job.fleet.seats(shard) if seat.process is not None}
        said = job.fanout.each("hello", seats, lambda _, seat: seat.port.hello(), HELLO_S)
        found = [Candidate(seats[name], status) for name, status in said.results.items()]
        # A fleet may not have noticed yet that a process has been replaced, or that it is gone.
        current = [one for one in found if one.seat.process == one.status.process]
        for one in current:
            if one.status.cursor is not None:
                job.numbering.note(one.status.cursor.epoch)
        return [one for one in current if self.admits(one.seat, one.status)]

    def admits(self, seat: ShardSeat, status: HostStatus) -> bool:
        """Whether a process may be used."""
        return self._job.fitness.admits(seat.name, status.process, status.node, status.fingerprint)

    def restore(
        self, seat: ShardSeat, spec: ShardSpec, shards: int, commit: Commit | None
    ) -> HostStatus:
        """Have a seat hold a shard as of a restore point, round what is damaged. Raises StoreError,
        ShardUnavailableError.
        """
        job, damaged = self._job, set[str]()
        while True:
            try:
                sent = None if commit is None else to_be_sent(commit)
                return seat.port.restore(job.term, spec, shards, sent)
            except (CorruptFileError, FileMissingError) as error:
                way = None
                if commit is not None:
                    damaged.add(error.name)
                    way = job.keeping.way_round(commit, damaged)
                if way is None:
                    raise
                job.say(f"shard {spec.shard}: {error}; restoring without it")
                commit = way

    def _until_led(self, shard: int, avoid: str | None) -> None:
        job, retry_s = self._job, _FIRST_RETRY_S
        try:
            while not job.stopped.is_set() and shard < job.shards:
                seen = self._changes
                if self._attempt(shard, avoid):
                    return
                with self._changed:
                    self._changed.wait_for(
                        lambda: self._changes != seen or job.stopped.is_set(),  # noqa: B023
                        retry_s,
                    )
                retry_s = min(_MOST_RETRY_S, 2 * retry_s)
        finally:
            with self._changed:
                self._wanted.pop(shard, None)

    def _attempt(self, shard: int, avoid: str | None) -> bool:
        """Whether the shard is led, or will not be by this coordinator."""
        job = self._job
        with self._changed:
            self._changed.wait_for(lambda: not self._suspended or job.stopped.is_set())
            if job.stopped.is_set():
                return True
            self._busy += 1
        try:
            self._have_led(shard, avoid)
        except SpecError as error:
            # What is there cannot be led as it stands.
            self._wanted[shard] = False
            self._note(shard, error)
        except PsError as error:
            if job.has_been_replaced(error):
                return True
            self._note(shard, error)
        else:
            self.errors.pop(shard, None)
            return True
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()
        return False

    def _have_led(self, shard: int, avoid: str | None) -> None:
        """Give a shard a leader:

        1. let nobody be sent any more to the one before
        2. choose among the processes that answer
        3. restore the shard there, where what is there will not do
        4. draw a generation; one that leads already keeps its own
        5. have it lead, epochs numbered on after any there has been
        6. publish it in the directory

        A crash after 2 leaves a process that is chosen again, or restored again; after 5 one that is
        adopted. Others follow it once it is published. Raises ShardUnavailableError, StoreError,
        SpecError, FencedError, StaleTermError.
        """
        job = self._job
        before = job.leaders.of(shard)
        job.leaders.vacate(shard)  # 1
        may_keep = self._wanted.get(shard, True)
        choice = self._choose(shard, may_keep=may_keep, avoid=avoid)  # 2
        seat = choice.candidate.seat
        if choice.how == "restore":
            if before is not None and before.is_up:
                _step_down(before, job.term)
            status = self.restore(seat, job.specs[shard], job.shards, job.keeping.way())  # 3
        else:
            status = choice.candidate.status
        kept = status.cursor.generation if choice.how == "adopt" and status.cursor else None
        generation = kept or job.keeping.draw()  # 4
        status = seat.port.lead(job.term, generation, epoch=job.numbering.newest)  # 5
        leader = Leader(shard, status.address, generation)
        job.leaders.put(shard, Led(leader, seat, status.process))  # 6
        self.sources[shard] = "store" if choice.how == "restore" else "standby"
        if choice.how != "adopt":
            how = "its standby" if choice.how == "promote" else "from the store"
            job.say(
                f"shard {shard} is led by {seat.name} on {status.node}, {how}, generation {generation}"
            )
        job.woken.set()

    def _choose(self, shard: int, *, may_keep: bool, avoid: str | None) -> Choice:
        job = self._job
        saved = self.saved(shard)
        found = self.candidates(shard)
        choice = choose(found, shard, job.shards, saved, may_keep=may_keep, avoid=avoid)
        if choice is None:
            for seat in job.fleet.seats(shard):
                refusal = job.fitness.refusal(seat.name)
                if refusal is not None:
                    raise refusal
            raise ShardUnavailableError(f"shard {shard}", "none of its processes is up")
        return choice

    def saved(self, shard: int) -> Cursor:
        """Where the store has a shard."""
        return self._job.keeping.chains[shard].cursor

    def _note(self, shard: int, error: PsError) -> None:
        told = f"shard {shard} has no leader yet: {error}"
        # A process that is being started is nothing to tell a person of.
        if self.errors.get(shard) != told and not isinstance(error, ShardUnavailableError):
            self._job.say(told)
        self.errors[shard] = told


def _step_down(led: Led, term: int) -> None:
    try:
        led.seat.port.step_down(term)
    except ShardUnavailableError:
        return  # what it still learns is nobody's, and learned again elsewhere
