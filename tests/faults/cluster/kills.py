"""Killing with -9, one kind after the other, and how long it takes until nothing of it is felt."""

from __future__ import annotations

import os
import signal
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal

from tests.faults.cluster.counting import REPLICAS, SHARDS, WORKERS
from tests.faults.cluster.world import IN_FLIGHT

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from ps.host.port import HostStatus
    from tests.faults.cluster.world import World

# shard: its leader. seats: its leader and its standby at once, so that only the store has it.
Kind = Literal["shard", "seats", "worker", "replica", "coordinator", "node"]
KINDS: dict[int, tuple[Kind, ...]] = {
    0: ("shard", "worker", "replica", "coordinator", "node"),
    1: ("shard", "seats", "worker", "replica", "coordinator", "node"),
}
# At most so long after all is well again, something is killed.
_LONGEST_PEACE_S = 1.5


@dataclass
class Killer:
    """Draws what to kill, and when. recovered_s: seconds by kind."""

    world: World
    rng: np.random.Generator
    recovered_s: dict[Kind, list[float]] = field(default_factory=lambda: defaultdict(list))

    def kill(self, kind: Kind) -> float:
        """Wait for a random instant at which all is well, kill one of a kind, wait until it is made up
        for; how long that took.
        """
        rest_s = self.world.wait("all is well again", self.world.is_well)
        print(f"well after another {rest_s:.1f} s")
        self.world.pass_time(self.rng.uniform(0.0, _LONGEST_PEACE_S))
        seconds = {
            "shard": self._kill_leader,
            "seats": self._kill_seats,
            "worker": self._kill_worker,
            "replica": self._kill_replica,
            "coordinator": self._kill_coordinator,
            "node": self._lose_machine,
        }[kind]()
        self.recovered_s[kind].append(seconds)
        print(f"{kind}: {seconds:.2f} s; {self.world.load.answered} predictions")
        return seconds

    def _kill_leader(self) -> float:
        """Until its successor learns."""
        world, shard = self.world, int(self.rng.integers(SHARDS))
        leader = world.seen(partial(world.sight.leader, shard))
        assert leader is not None
        return self._kill_hosts(shard, [leader[1]])

    def _kill_seats(self) -> float:
        """Until what was restored from the store learns."""
        sight, shard = self.world.sight, int(self.rng.integers(SHARDS))

        def hosts() -> list[HostStatus]:
            found = [*sight.hosts(shard).values()]
            return found if len(found) == len(sight.seats(shard)) else []

        return self._kill_hosts(shard, self.world.seen(hosts))

    def _kill_hosts(self, shard: int, hosts: Sequence[HostStatus]) -> float:
        world, before = self.world, {host.process for host in hosts}
        for host in hosts:
            os.kill(host.pid, signal.SIGKILL)
        began: dict[str, int] = {}

        def learns() -> bool:
            now = world.sight.successor(shard, before)
            if now is None:
                return False
            learned = sum(now.positions.values())
            return learned > began.setdefault(now.process, learned)

        return world.wait(f"shard {shard} learns again", learns)

    def _kill_worker(self) -> float:
        """Until what it owned is learned from."""
        world, worker = self.world, int(self.rng.integers(WORKERS))
        owned = [
            partition
            for partition, owner in world.seen(world.sight.owned).items()
            if owner == worker
        ]
        self._kill_process(f"worker-{worker}")
        return world.wait_learning(owned)

    def _kill_replica(self) -> float:
        """Until it is ready again."""
        world, number = self.world, int(self.rng.integers(REPLICAS))
        name = f"replica-{number}"
        before = {name: world.seen(partial(world.sight.replica, name))}
        self._kill_process(name)
        return world.wait(f"{name} is ready", lambda: world.sight.are_ready(before))

    def _kill_coordinator(self) -> float:
        """Until it answers an operator; the others went on meanwhile."""
        world = self.world
        before = world.seen(world.status)
        assert before is not None
        began_s = world.clock.monotonic_s()
        self._kill_process("coordinator")
        learned, answered = world.seen(world.sight.positions), world.load.answered

        def answers() -> bool:
            now = world.status()
            return now is not None and now.pid != before.pid

        world.wait("the coordinator answers", answers)
        seconds = world.clock.monotonic_s() - began_s
        now = world.seen(world.sight.positions)
        for at, began in zip(now, learned, strict=True):
            for partition in began:
                assert at[partition] > began[partition] + IN_FLIGHT, "training stood still"
        assert world.load.answered > answered, "serving stood still"
        return seconds

    def _lose_machine(self) -> float:
        """Until all shards learn and all replicas are ready, without it; then a new one comes."""
        world = self.world
        members = world.seen(world.sight.everybody)
        on = Counter(member.node for member in members.values())
        losable = [node for node in world.machines.ids() if on[node]]
        assert losable, "nothing runs but on the head"
        node = losable[int(self.rng.integers(len(losable)))]
        lost = sorted(member.name for member in members.values() if member.node == node)
        print(f"machine with {', '.join(lost)}")
        replicas = {
            name: world.seen(partial(world.sight.replica, name))
            for name in lost
            if name.startswith("replica")
        }
        leaders = [world.seen(partial(world.sight.leader, shard)) for shard in range(SHARDS)]
        dead = {one[1].process for one in leaders if one is not None and one[0] in lost}
        began_s = world.clock.monotonic_s()
        world.machines.lose(node)

        def all_led() -> bool:
            now = [world.sight.leader(shard) for shard in range(SHARDS)]
            return all(one is not None and one[1].process not in dead for one in now)

        world.wait("all shards are led", all_led)
        world.wait_learning()
        world.wait("all replicas are ready", lambda: world.sight.are_ready(replicas))
        seconds = world.clock.monotonic_s() - began_s
        world.machines.add()
        return seconds

    def _kill_process(self, name: str) -> None:
        member = self.world.seen(lambda: self.world.sight.members([name]).get(name))
        assert member is not None
        os.kill(member.pid, signal.SIGKILL)
