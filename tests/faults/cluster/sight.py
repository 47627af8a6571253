"""How the processes of a job stand, as they say themselves: asked through Ray, not through the job."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cluster.fleet.names import NAMESPACE, member_name, seat_name
from tests.faults.cluster.counting import JOB, REPLICAS, SHARDS, WORKERS

if TYPE_CHECKING:
    from collections.abc import Sequence

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

    def members(self, names: Sequence[str] | None = None) -> dict[str, Member]:
        """Who answers, by name: all of the job, or these."""
        import ray

        handles = {name: self._handle(name) for name in names or self.names}
        asked = {
            name: handle.__ray_call__.remote(_whereabouts)
            for name, handle in handles.items()
            if handle is not None
        }
        return {name: Member(name, *found) for name, found in self._collected(ray, asked).items()}

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

    def leader(self, shard: int) -> tuple[str, HostStatus] | None:
        """The seat that leads a shard and what it says, None where there is none."""
        leading = {name: host for name, host in self.hosts(shard).items() if host.role == "leading"}
        if not leading:
            return None
        name = max(leading, key=lambda one: (_generation(leading[one]), one))
        return name, leading[name]

    def positions(self) -> list[Positions]:
        """By shard, how far its leader has learned; of none where one has no leader that answers."""
        found = [self.leader(shard) for shard in range(SHARDS)]
        return [one[1].positions for one in found if one is not None] if all(found) else []

    def owned(self) -> dict[str, int]:
        """The worker of each partition."""
        import ray

        handle = self._handle("coordinator")
        if handle is None:
            return {}
        asked = {"coordinator": handle.__ray_call__.remote(_owned)}
        owned: dict[str, int] = self._collected(ray, asked).get("coordinator") or {}
        return owned

    def are_ready(self, before: dict[str, ReplicaReport]) -> bool:
        """Whether all replicas serve, those of `before` in another process."""
        now = self.replicas()
        return len(now) == REPLICAS and all(
            one.status.ready and (name not in before or before[name].process != one.process)
            for name, one in now.items()
        )

    def _hello(self, names: Sequence[str]) -> dict[str, Any]:
        import ray

        handles = {name: self._handle(name) for name in names}
        asked = {
            name: handle.hello.remote() for name, handle in handles.items() if handle is not None
        }
        return self._collected(ray, asked)

    def _collected(self, ray: Any, asked: dict[str, Any]) -> dict[str, Any]:
        from ray.exceptions import RayError

        found: dict[str, Any] = {}
        if not asked:
            return found
        done, _ = ray.wait([*asked.values()], num_returns=len(asked), timeout=_ANSWER_S)
        for name, ref in asked.items():
            if ref in done:
                with suppress(RayError):
                    found[name] = ray.get(ref, timeout=_ANSWER_S)
        return found

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
