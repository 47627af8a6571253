"""The coordinator: put together from its parts, and the face that workers and replicas know."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ps.coordinator.beginning import begin
from ps.coordinator.commits import Commits
from ps.coordinator.fanout import Fanout
from ps.coordinator.fitness import Fitness
from ps.coordinator.holding import held
from ps.coordinator.holds import Holds
from ps.coordinator.job import Job
from ps.coordinator.keeping import Keeping
from ps.coordinator.leaders import Leaders
from ps.coordinator.leadership import Leadership
from ps.coordinator.members import Members
from ps.coordinator.numbering import Numbering
from ps.coordinator.orders import ReplicaOrders, WorkerOrders
from ps.coordinator.ownership import Ownership
from ps.coordinator.standbys import Standbys
from ps.coordinator.supervisor import Supervisor
from ps.directory import Directory
from ps.errors import (
    BlockGapError,
    JobBusyError,
    NotLeadingError,
    PsError,
    ShardUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ps.clock import Clock
    from ps.coordinator.fleet import Fleet
    from ps.coordinator.orders import ReplicaReport, WorkerReport
    from ps.coordinator.plan import JobPlan
    from ps.store.commit import Commit

# Holds are numbered on from here by each coordinator: terms only rise.
_HOLDS_PER_TERM = 1 << 32
# What the end of a job waits for workers to come to rest, and for threads to end.
_HOLD_S = 20.0
# A shard that is lost while the job ends is waited for, so often; then it stays where the store has it.
_LAST_ATTEMPTS = 20
_LAST_PAUSE_S = 0.2
_JOIN_S = 5.0
# A resharding before may have left more shards than the job was begun with.
_ROOM_S = 600.0
# The claim is kept fresh that often at least, for those who cannot see whether this process lives.
_RENEW_S = 5.0


class Coordinator:
    """Says who leads and who reads what, and makes restore points. See ps.coordinator.orders.

    Its parts are its own; operations (ps.coordinator.operations) use them too, one at a time under
    `operating`. It may be stopped, or
    die, at any moment: workers, shards and replicas go on as they were told last, and another one
    with successor=True takes over from the store and from what the processes hold.
    """

    def __init__(
        self,
        plan: JobPlan,
        fleet: Fleet,
        *,
        clock: Clock,
        say: Callable[[str], None],
        successor: bool = False,
    ) -> None:
        """Become the job's coordinator; nothing is started yet:

        1. claim the store, from a coordinator before this one, if it is its successor
        2. choose the restore point to go on from, and refuse a store that does not fit the job
        3. where it is not simply the newest, make it the newest

        A crash between any two leaves the store as it was, but for bases that nobody names. Raises
        StoreInUseError, IncompatibleModelError, NoRestorePointError, SpecError, StoreUnavailableError.
        """
        self.plan = plan
        keeping = Keeping(plan.name, plan.store, clock=clock, say=say, successor=successor)  # 1
        try:
            beginning = begin(plan, keeping, successor=successor)  # 2
        except BaseException:
            keeping.close()
            raise
        self._is_new = beginning.is_new
        commit = beginning.commit
        members = Members(plan.merge_states, clock)
        fitness = Fitness(plan.fingerprint, say)
        ownership = Ownership(fleet, members, plan.partitions, keeping.draw, clock, self._is_fit)
        self.job = Job(
            plan=plan,
            fleet=fleet,
            keeping=keeping,
            leaders=Leaders(keeping.term, len(beginning.specs)),
            numbering=Numbering(beginning.newest),
            members=members,
            ownership=ownership,
            holds=Holds(keeping.term * _HOLDS_PER_TERM),
            fitness=fitness,
            fanout=Fanout(),
            clock=clock,
            say=say,
            specs=beginning.specs,
        )
        self.leadership = Leadership(self.job)
        self.standbys = Standbys(self.job)
        self.supervisor = Supervisor(self.job, self.leadership, self.standbys)
        self.commits = Commits(
            self.job,
            suspect=lambda shard: self.supervisor.suspect([shard]),
            restore=lambda shard: self.leadership.ensure(shard, may_keep=False),
        )
        self.publishing = True
        self.failure: str | None = None
        self.operating = threading.Lock()
        self._ending = False
        self._threads: list[threading.Thread] = []
        self._closing = threading.Lock()
        keeping.begin(beginning.specs, beginning.chains, commit)
        try:
            if commit is not None:
                # What assignments before this one counted is in the commit, or is not known any more.
                members.reset(commit.worker, keeping.term)
                ownership.skips = dict(commit.skips)
                where = f"epoch {commit.at.epoch} from {keeping.url}"
                say(f"{'taken over' if successor else 'resumed'} at {where}")
            if self._is_new:
                self.commits.commit_chains()  # 3
        except BaseException:
            self._close()
            raise

    def start(self) -> None:
        """Start its threads, once there are seats for all shards. See wait_whole.

        Raises JobBusyError where there is no room for them.
        """
        job = self.job
        job.fleet.resize(job.shards, _ROOM_S)
        for shard in range(job.shards):
            self.leadership.ensure(shard, may_keep=not self._is_new)
        # Seats there are beyond are of a resharding that was cut short, or were not retired yet.
        self.supervisor.retire()
        for name, run in (
            ("supervise", self.supervisor.run),
            ("watch", self.supervisor.watch),
            ("seal", self._seal_now_and_then),
            ("commit", self._commit_now_and_then),
        ):
            thread = threading.Thread(target=run, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)
        job.woken.set()

    def wait_whole(self, timeout_s: float) -> None:
        """Wait until every shard is led.

        Raises CodeMismatchError where a shard has no process that may be used, and runs into the time
        limit; else JobBusyError, which says what is missing.
        """
        job = self.job
        if job.leaders.wait_whole(timeout_s):
            return
        missing = [shard for shard in range(job.shards) if job.leaders.of(shard) is None]
        for shard in missing:
            for seat in job.fleet.seats(shard):
                refusal = job.fitness.refusal(seat.name)
                if refusal is not None:
                    raise refusal
        why = "; ".join(self.leadership.errors.get(shard, f"shard {shard}") for shard in missing)
        raise JobBusyError(f"not all shards were there within {timeout_s:g} s: {why}")

    def announce(self, admin: str) -> None:
        """Say in the store where the job's admin service listens. Raises StoreError."""
        self.job.keeping.announce(admin)

    @property
    def directory(self) -> Directory:
        """Who leads which shard."""
        return self.job.leaders.directory

    @property
    def has_been_replaced(self) -> bool:
        """Whether there is a later coordinator."""
        return self.job.replaced is not None

    @property
    def is_finished(self) -> bool:
        """Whether every partition has been read to its end, by those who own them now."""
        job = self.job
        owned, live = job.ownership.owned(), job.ownership.live()
        if not owned or not job.leaders.is_whole:
            return False
        for worker in set(owned.values()):
            report = job.members.worker(worker)
            given = job.ownership.of(worker, live.get(worker, ""))
            if (
                report is None
                or given is None
                or (report.generation, report.phase) != (given.generation, "finished")
            ):
                return False
        return True

    def work(self, report: WorkerReport) -> WorkerOrders:
        """See Coordination."""
        job = self.job
        self._answer()
        if not self._admits(f"worker {report.worker}", report):
            return WorkerOrders(job.leaders.directory, stop=self._ending)
        before = job.members.worker(report.worker)
        job.members.note(report)
        if report.phase == "failed":
            self.failure = f"worker {report.worker} on node {report.node}: {report.error}"
        if report.suspects:
            self.supervisor.suspect(s for s in report.suspects if job.leaders.of(s) is not None)
        if before is None or before.process != report.process:
            job.woken.set()
        return WorkerOrders(
            job.leaders.directory,
            assignment=job.ownership.of(report.worker, report.process),
            hold=job.holds.number,
            stop=self._ending,
        )

    def serve(self, report: ReplicaReport) -> ReplicaOrders:
        """See Coordination."""
        job = self.job
        self._answer()
        directory = job.leaders.directory
        if not self._admits(f"replica {report.replica}", report):
            # Without a leader to follow it never gets ready.
            empty = Directory(directory.version, (None,) * directory.shards)
            return ReplicaOrders(empty, stop=self._ending)
        job.members.note_replica(report)
        return ReplicaOrders(directory, self.publishing, self._ending)

    def stop(self) -> Commit | None:
        """End the job in order; the restore point it leaves. Again: no effect.

        1. hold the workers, so that all shards stand at one position
        2. seal, save and commit
        3. tell workers and replicas to end
        4. stop, and give up the store

        A shard that is lost meanwhile is waited for, and 1 and 2 are done again. Where workers do not
        come to rest in time, or it does not come back, what there is is saved. Raises StoreError where
        it could not be saved; it is stopped nevertheless.
        """
        job = self.job
        if self._ending or job.stopped.is_set():
            self._close()
            return job.keeping.newest
        try:
            try:
                for _ in range(_LAST_ATTEMPTS):
                    with held(job, "stopping", _HOLD_S):  # 1
                        if self._commit_last(whole=True):
                            # Before they are let go: nothing is learned any more.
                            self._ending = True
                            break
                else:
                    self._commit_last(whole=False)
            except JobBusyError as error:
                job.say(f"{error}; saving what there is")
                self._commit_last(whole=False)
        finally:
            self._ending = True  # 3
            self._close()  # 4
        return job.keeping.newest

    def abandon(self, join_s: float = _JOIN_S) -> None:
        """Stop at once, saving nothing and keeping the claim: as if the process had died.

        join_s: how long to wait for each thread to come to its end.
        """
        self._end_threads(join_s)
        self.job.keeping.upkeep.close(join_s)

    def _commit_last(self, *, whole: bool) -> bool:
        """Make the last restore point; False where (whole) a shard that was just lost had no part in it."""
        try:
            self.commits.commit(whole=whole)  # 2
        except (ShardUnavailableError, NotLeadingError, BlockGapError):
            if not whole:
                raise
            self.job.woken.set()
            self.job.stopped.wait(_LAST_PAUSE_S)
            return False
        except PsError as error:
            if not self.job.has_been_replaced(error):
                raise
        return True

    def _answer(self) -> None:
        if self.job.replaced is not None:
            raise JobBusyError("this coordinator has been replaced by a later one; ask that one")

    def _admits(self, where: str, report: WorkerReport | ReplicaReport) -> bool:
        return self.job.fitness.admits(where, report.process, report.node, report.fingerprint)

    def _is_fit(self, worker: int) -> bool:
        return self.job.fitness.refusal(f"worker {worker}") is None

    def _seal_now_and_then(self) -> None:
        job, every_s = self.job, self.plan.seal_interval_s
        while not job.stopped.wait(every_s):
            self._attempt(lambda: self.commits.seal(max(every_s, 1.0)))

    def _commit_now_and_then(self) -> None:
        job, every_s = self.job, self.plan.store.commit_every_s
        due_s = job.clock.monotonic_s() + every_s
        told: str | None = None
        while not job.stopped.wait(min(every_s, _RENEW_S)):
            now_s = job.clock.monotonic_s()
            # Waking a little early is as good as being on time.
            is_due = now_s >= due_s - min(every_s, _RENEW_S) / 2
            if is_due:
                due_s = max(due_s + every_s, now_s + every_s / 2)
            error = self._attempt(self._commit if is_due else job.keeping.check)
            if error is not None and error != told:
                job.say(f"{error}; training goes on, and saving is tried again")
            told = error

    def _commit(self) -> None:
        if self.commits.commit() is None:
            self.job.keeping.check()

    def _attempt(self, do: Callable[[], object]) -> str | None:
        """What went wrong, if it is anything to tell."""
        try:
            do()
        except PsError as error:
            return None if self.job.has_been_replaced(error) else str(error)
        except Exception as error:  # noqa: BLE001  # told, and tried again
            return f"{type(error).__name__}: {error}"
        return None

    def _end_threads(self, join_s: float = _JOIN_S) -> None:
        self.job.stopped.set()
        self.job.woken.set()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(join_s)
        self.leadership.close()
        self.job.fanout.close()

    def _close(self) -> None:
        with self._closing:
            self._end_threads()
            self.job.keeping.close()
