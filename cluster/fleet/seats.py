"""The fleet on Ray: an actor for each seat of a shard, each worker and each replica."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any, Protocol

from cluster.errors import ClusterTooSmallError
from cluster.fleet.actors import end, make_member
from cluster.fleet.names import member_name, seat_name, shard_group_name
from cluster.fleet.placement import release, reserve, rooms_held, shard_room
from cluster.fleet.ports import ActorPort
from cluster.fleet.watch import Member, Watch
from ps.errors import JobBusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cluster.plan import ClusterPlan, Needs
    from ps.clock import Clock


class Crew(Protocol):
    """What runs in the actors: by member, a class and what it is made with, both sent there.

    Each has hello(), whose answer has `process`, and stay(), which returns once it ended in order.
    """

    def shard(self, seat: str) -> tuple[type, tuple[Any, ...]]:
        """One process of a shard."""
        ...

    def worker(self, number: int) -> tuple[type, tuple[Any, ...]]:
        """A worker."""
        ...

    def replica(self, number: int) -> tuple[type, tuple[Any, ...]]:
        """A replica."""
        ...


class ActorSeat:
    """See ps.coordinator.fleet.ShardSeat."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self._port = ActorPort(member.name, lambda: member.handle)

    @property
    def name(self) -> str:
        """See ShardSeat."""
        return self.member.name

    @property
    def port(self) -> ActorPort:
        """See ShardSeat."""
        return self._port

    @property
    def process(self) -> str | None:
        """See ShardSeat."""
        return self.member.process


class RayFleet:
    """See ps.coordinator.fleet.Fleet. Rooms for what the plan says have been reserved.

    plan.replicas: not None. Where the job was spread over another number of shards since it began, its
    rooms say so. say: told who has gone, and who is back.
    """

    def __init__(
        self,
        job: str,
        plan: ClusterPlan,
        crew: Crew,
        clock: Clock,
        say: Callable[[str], None],
    ) -> None:
        self._job = job
        self._plan = plan
        self._crew = crew
        self._clock = clock
        self._watch = Watch(clock, say)
        self._changing = threading.Lock()
        self._seats: list[tuple[ActorSeat, ...]] = []
        self._workers = [
            self._member(
                f"worker-{number}", crew.worker, number, plan.worker_needs, "workers", number
            )
            for number in range(plan.workers)
        ]
        self._replicas = [
            self._member(
                f"replica-{number}", crew.replica, number, plan.replica_needs, "replicas", number
            )
            for number in range(plan.replicas or 0)
        ]

    def start(self) -> None:
        """Have everybody started, or find who runs already; returns before they are up."""
        self._add_shards(max(self._plan.shards, _shards_held(self._job)))
        self._watch.add([*self._workers, *self._replicas])
        self._watch.start()

    def close(self) -> None:
        """Look after them no more; they go on."""
        self._watch.close()

    def let_go(self) -> None:
        """The job ends: whoever ends from now on is not missed."""
        self._watch.let_go()

    def wait_ended(self, timeout_s: float) -> bool:
        """Wait until workers and replicas have ended; False: not all have in time."""
        return self._watch.wait_down([*self._workers, *self._replicas], timeout_s)

    @property
    def members(self) -> list[Member]:
        """Everybody."""
        seats = [seat.member for seats in self._seats for seat in seats]
        return [*seats, *self._workers, *self._replicas]

    def wait_up(self, timeout_s: float) -> list[Member]:
        """Wait until everybody is up; those who are not."""
        return self._watch.wait_up(self.members, timeout_s)

    def seats(self, shard: int) -> Sequence[ActorSeat]:
        """See Fleet."""
        return self._seats[shard]

    def resize(self, shards: int, deadline_s: float) -> None:
        """See Fleet."""
        began_s = self._clock.monotonic_s()
        with self._changing:
            more = range(len(self._seats), shards)
            rooms = [shard_room(self._job, self._plan, shard) for shard in more]
            try:
                reserve(rooms, deadline_s, _nobody, self._clock)
            except ClusterTooSmallError as error:
                raise JobBusyError(f"resharding to {shards} shards: {error}") from error
            self._add_shards(shards)
        members = [seat.member for shard in more for seat in self._seats[shard]]
        left_s = max(deadline_s - (self._clock.monotonic_s() - began_s), 0.0)
        missing = self._watch.wait_up(members, left_s)
        if missing:
            self.retire(more.start)
            raise JobBusyError(
                f"resharding to {shards} shards: {_told(missing)} within {deadline_s:g} s; nothing "
                "was changed: look at the cluster, and try again"
            )

    def retire(self, shards: int) -> None:
        """See Fleet."""
        with self._changing:
            gone = range(shards, len(self._seats))
            members = [seat.member for shard in gone for seat in self._seats[shard]]
            self._watch.remove(members)
            for member in members:
                member.process = None
                end(member_name(self._job, member.name))
            del self._seats[shards:]
            release(self._job, [shard_group_name(self._job, shard) for shard in gone])

    def worker_process(self, worker: int) -> str | None:
        """See Fleet."""
        return self._workers[worker].process if worker < len(self._workers) else None

    @property
    def workers(self) -> int:
        """See Fleet."""
        return len(self._workers)

    @property
    def replicas(self) -> int:
        """See Fleet."""
        return len(self._replicas)

    def wait_for_change(self, timeout_s: float) -> bool:
        """See Fleet."""
        return self._watch.wait_for_change(timeout_s)

    def _add_shards(self, shards: int) -> None:
        for shard in range(len(self._seats), shards):
            room = f"shard-{shard}"
            seats = tuple(
                ActorSeat(
                    self._member(
                        seat_name(shard, seat),
                        self._crew.shard,
                        seat_name(shard, seat),
                        self._plan.shard_needs,
                        room,
                        seat,
                    )
                )
                for seat in range(1 + self._plan.standbys)
            )
            self._seats.append(seats)
            self._watch.add([seat.member for seat in seats])

    def _member(
        self,
        name: str,
        crew: Callable[[Any], tuple[type, tuple[Any, ...]]],
        who: Any,
        needs: Needs,
        room: str,
        bundle: int,
    ) -> Member:
        def make() -> Any:
            actor, args = crew(who)
            return make_member(
                self._job, name, actor, args, needs, member_name(self._job, room), bundle
            )

        return Member(name, make)


def _shards_held(job: str) -> int:
    """How many shards a job has rooms for."""
    pattern = re.compile(re.escape(job) + r"\.shard-(\d+)")
    found = (pattern.fullmatch(name) for name in rooms_held(job))
    return max((int(match[1]) + 1 for match in found if match), default=0)


def _told(missing: Sequence[Member]) -> str:
    """Who is not up, and why, as far as is known."""
    return "; ".join(
        f"{member.name} did not come up" + (f" ({member.fault})" if member.fault else "")
        for member in missing
    )


def _nobody(message: str) -> None:
    del message
