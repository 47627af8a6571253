"""How the processes of a job stand, as they say themselves: asked through Ray, not through the job."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cluster.fleet.names import NAMESPACE, member_name, seat_name
from ps.clock import SystemClock
from tests.faults.cluster.counting import JOB, REPLICAS, SHARDS, WORKERS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from ps.coordinator.orders import ReplicaReport
    from ps.host.port import HostStatus
    from ps.stream import Positions

# Whoever is there answers sooner as a rule; and is asked again.
_ANSWER_S = 0.4


@dataclass(frozen=True, slots=True)
class Member:
    """A process of the job, by the name of its actor."""

    name: str
    pid: int
    node: str


class Sight:
    """Of one job. Whoever does not answer is left out."""

    def __init__(self, standbys: int) -> None:
        self._standbys = standbys
        self._clock = SystemClock()

    def members(self, names: Sequence[str] | None = None) -> dict[str, Member]:
        """Who answers, by name: all of the job, or these."""
        handles = {name: self._handle(name) for name in names or self.names}
        asked = {
            name: handle.__ray_call__.remote(_whereabouts)
            for name, handle in handles.items()
            if handle is not None
        }
        return {name: Member(name, *found) for name, found in self._collected(asked).items()}

    def everybody(self) -> dict[str, Member]:
        """All of the job; nobody where one does not answer."""
        found = self.members()
        return found if len(found) == len(self.names) else {}

    @property
    def names(self) -> list[str]:
        """Of all members."""
        seats = [seat for shard in range(SHARDS) for seat in self.seats(shard)]
        workers = [f"worker-{number}" for number in range(WORKERS)]
        replicas = [f"replica-{number}" for number in range(REPLICAS)]
        return ["coordinator", *seats, *workers, *replicas]

    def seats(self, shard: int) -> list[str]:
        """The names of those that may lead a shard."""
        return [seat_name(shard, seat) for seat in range(1 + self._standbys)]

    def hosts(self, shard: int) -> dict[str, HostStatus]:
        """What the processes of a shard say of themselves."""
        return self._hello(self.seats(shard))

    def replicas(self) -> dict[str, ReplicaReport]:
        """What the replicas say."""
        return self._hello([f"replica-{number}" for number in range(REPLICAS)])

    def replica(self, name: str) -> ReplicaReport | None:
        """What one says."""
        return self.replicas().get(name)

    def leader(self, shard: int) -> tuple[str, HostStatus] | None:
        """The seat that leads a shard and what it says, None where there is none."""
        leading = {name: host for name, host in self.hosts(shard).items() if host.role == "leading"}
        if not leading:
            return None
        name = max(leading, key=lambda one: (_generation(leading[one]), one))
        return name, leading[name]

    def successor(self, shard: int, before: Collection[str]) -> HostStatus | None:
        """What leads a shard and is none of these processes; waits for nobody else."""
        for _, host in self._answers(self._greetings(self.seats(shard))):
            if host.role == "leading" and host.process not in before:
                found: HostStatus = host
                return found
        return None

    def positions(self) -> list[Positions]:
        """By shard, how far its leader has learned; of none where one has no leader that answers."""
        found = [self.leader(shard) for shard in range(SHARDS)]
        return [one[1].positions for one in found if one is not None] if all(found) else []

    def owned(self) -> dict[str, int]:
        """The worker of each partition."""
        handle = self._handle("coordinator")
        if handle is None:
            return {}
        asked = {"coordinator": handle.__ray_call__.remote(_owned)}
        owned: dict[str, int] = self._collected(asked).get("coordinator") or {}
        return owned

    def are_ready(self, before: Mapping[str, ReplicaReport | None]) -> bool:
        """Whether all replicas serve, those of `before` in another process."""
        now = self.replicas()
        return len(now) == REPLICAS and all(
            one.status.ready and one.process != getattr(before.get(name), "process", None)
            for name, one in now.items()
        )

    def _hello(self, names: Sequence[str]) -> dict[str, Any]:
        return self._collected(self._greetings(names))

    def _greetings(self, names: Sequence[str]) -> dict[str, Any]:
        handles = {name: self._handle(name) for name in names}
        return {
            name: handle.hello.remote() for name, handle in handles.items() if handle is not None
        }

    def _collected(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self._answers(asked))

    def _answers(self, asked: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """As they come; whoever says nothing in time is left out."""
        import ray
        from ray.exceptions import RayError

        names = {ref: name for name, ref in asked.items()}
        until_s = self._clock.monotonic_s() + _ANSWER_S
        while names:
            left_s = max(until_s - self._clock.monotonic_s(), 0.0)
            done, _ = ray.wait([*names], num_returns=1, timeout=left_s)
            if not done:
                return
            name = names.pop(done[0])
            with suppress(RayError):
                yield name, ray.get(done[0])

    def _handle(self, name: str) -> Any:
        import ray

        try:
            return ray.get_actor(member_name(JOB, name), namespace=NAMESPACE)
        except ValueError:
            return None


def _generation(host: HostStatus) -> int:
    return 0 if host.cursor is None else host.cursor.generation


def _whereabouts(_: Any) -> tuple[int, str]:
    import ray

    return os.getpid(), ray.get_runtime_context().get_node_id()


def _owned(coordinator: Any) -> dict[str, int]:
    in_charge = coordinator._coordinator
    return {} if in_charge is None else in_charge.job.ownership.owned()
