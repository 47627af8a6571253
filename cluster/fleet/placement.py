"""Room for a job's processes: placement groups, waited for within a deadline, and given back."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ray
from ray._private.state import available_resources_per_node
from ray.util.placement_group import (
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

from cluster.errors import ClusterTooSmallError
from cluster.fleet.names import belongs_to, member_name, shard_group_name
from cluster.fleet.probe import node_name
from ps.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ray.util.placement_group import PlacementGroup

    from cluster.plan import Apart, ClusterPlan, Needs
    from ps.clock import Clock

_STRATEGY: dict[Apart, str] = {"required": "STRICT_SPREAD", "preferred": "SPREAD"}
# Ray refuses a bundle of nothing.
_NEXT_TO_NOTHING = {"CPU": 0.001}
_SAY_AFTER_S = 2.0
_ROUND_S = 0.5
_GONE_S = 10.0
_LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class Room:
    """One placement group: a bundle for each process. what: who they are, for people."""

    name: str
    what: str
    needs: Needs
    processes: int
    apart: Apart

    @property
    def bundles(self) -> list[dict[str, float]]:
        """What is asked for."""
        return [self.needs.bundle() or dict(_NEXT_TO_NOTHING) for _ in range(self.processes)]

    def __str__(self) -> str:
        """As a person reads it."""
        each = " each" if self.processes > 1 else ""
        apart = (
            ", on machines of their own" if self.apart == "required" and self.processes > 1 else ""
        )
        return f"{self.what}: {self.processes} × {resources_text(self.needs.bundle())}{each}{apart}"


def shard_room(job: str, plan: ClusterPlan, shard: int) -> Room:
    """For all seats of one shard."""
    return Room(
        shard_group_name(job, shard),
        f"shard {shard}" + (" and its standby" if plan.standbys else ""),
        plan.shard_needs,
        1 + plan.standbys,
        plan.standby_apart,
    )


def rooms_of(job: str, plan: ClusterPlan) -> list[Room]:
    """All that a job begins with, but for the coordinator's. plan.replicas: not None."""
    rooms = [shard_room(job, plan, shard) for shard in range(plan.shards)]
    rooms.append(
        Room(member_name(job, "workers"), "workers", plan.worker_needs, plan.workers, "preferred")
    )
    if plan.replicas:
        name = member_name(job, "replicas")
        rooms.append(Room(name, "replicas", plan.replica_needs, plan.replicas, plan.replicas_apart))
    return rooms


def reserve(
    rooms: Sequence[Room],
    timeout_s: float,
    say: Callable[[str], None],
    clock: Clock | None = None,
) -> None:
    """Have all rooms, or none of those that are new. say: told where it takes a while.

    Raises ClusterTooSmallError.
    """
    clock = clock or SystemClock()
    there = _names()
    groups: list[tuple[Room, PlacementGroup]] = []
    try:
        for room in rooms:
            if room.name not in there:
                group = placement_group(
                    room.bundles,
                    strategy=_STRATEGY[room.apart],
                    name=room.name,
                    lifetime="detached",
                )
                groups.append((room, group))
        _wait(groups, timeout_s, say, clock)
    except BaseException:
        for _, group in groups:
            remove_placement_group(group)
        raise


def _wait(
    groups: Sequence[tuple[Room, PlacementGroup]],
    timeout_s: float,
    say: Callable[[str], None],
    clock: Clock,
) -> None:
    """Wait until all have been granted. Raises ClusterTooSmallError."""
    began_s = clock.monotonic_s()
    waiting, told = list(groups), False
    while waiting:
        waited_s = clock.monotonic_s() - began_s
        if waited_s >= timeout_s:
            wanted = [str(room) for room, _ in waiting]
            raise ClusterTooSmallError(timeout_s, wanted, free_resources())
        if waited_s >= _SAY_AFTER_S and not told:
            told = True
            names = ", ".join(room.what for room, _ in waiting)
            say(f"waiting up to {timeout_s:g} s for room for {names}")
        # In order: each wait is for the first that is still missing.
        if waiting[0][1].wait(min(_ROUND_S, timeout_s - waited_s)):
            waiting.pop(0)


def find_room(name: str) -> PlacementGroup:
    """A placement group by its name. Raises ValueError where there is none."""
    group: PlacementGroup = get_placement_group(name)
    return group


def release(job: str, names: Sequence[str] | None = None) -> None:
    """Give back rooms of a job: those named, or all."""
    for name in _names():
        if belongs_to(job, name) and (names is None or name in names):
            with suppress(ValueError):
                remove_placement_group(get_placement_group(name))


def wait_released(job: str, clock: Clock | None = None) -> bool:
    """Wait until no room of a job is left; whether that came in time."""
    clock = clock or SystemClock()
    until_s, pause = clock.monotonic_s() + _GONE_S, threading.Event()
    while any(belongs_to(job, name) for name in _names()):
        if clock.monotonic_s() >= until_s:
            return False
        pause.wait(_LOOK_S)  # Ray has no event for this
    return True


def rooms_held(job: str) -> list[str]:
    """The names of a job's placement groups that are there."""
    return sorted(name for name in _names() if belongs_to(job, name))


def free_resources() -> list[str]:
    """What each machine has free, a line each."""
    free = available_resources_per_node()
    return sorted(
        f"{node_name(node)} has {resources_text(free.get(node['NodeID'], {}))}"
        for node in ray.nodes()
        if node["Alive"]
    )


def resources_text(resources: Mapping[str, float]) -> str:
    """Resources as people read them."""
    parts = []
    for name, amount in sorted(resources.items()):
        if name.startswith(("node:", "object_store_memory", "bundle_group")) or "_group_" in name:
            continue
        if name == "memory":
            parts.append(f"{amount / (1 << 30):.1f} GiB")
        else:
            parts.append(f"{amount:g} {name}")
    return ", ".join(parts) or "nothing"


def _names() -> set[str]:
    return {
        entry["name"]
        for entry in placement_group_table().values()
        if entry["state"] != "REMOVED" and entry["name"]
    }
