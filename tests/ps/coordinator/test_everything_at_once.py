"""Kills and operators at random instants: in the end every example that is not left out counts once."""

from __future__ import annotations

import os
import random
import threading
from typing import TYPE_CHECKING

import pytest

from ps.coordinator.target import ClusterTarget
from ps.errors import PsError
from tests.ps.coordinator.fleet import DEADLINE_S
from tests.ps.coordinator.test_operations import Knowledge

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.ps.coordinator.world import World

SEEDS = 60 if "TRILITH_FAULTS" in os.environ else 4
_STEPS = 10


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_kills_and_operators_at_once(
    make_world: Callable[..., World], seed: int, record_property: Callable[[str, object], None]
) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)  # noqa: S311
    world = make_world(
        shards=rng.choice([1, 2, 3]),
        standbys=rng.choice([0, 1]),
        workers=rng.choice([1, 2]),
        partitions={"p": 4_000, "q": 3_000},
        commit_every_s=rng.choice([0.01, 0.05, 0.3]),
    )
    world.started()
    operators = [threading.Thread(target=_operate, args=(world, seed + n)) for n in (1000, 2000)]
    for thread in operators:
        thread.start()
    pause = threading.Event()
    for _ in range(_STEPS):
        pause.wait(rng.uniform(0.0, 0.15))
        _kill_somebody(world, rng, pause)
    record_property("coordinated_kills", _STEPS)
    for thread in operators:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    world.coordinator.wait_whole(DEADLINE_S)
    skips = world.coordinator.job.ownership.skips
    world.check_at_end(skips)


def _kill_somebody(world: World, rng: random.Random, pause: threading.Event) -> None:
    who = rng.choice(["shard", "shard", "worker", "coordinator"])
    if who == "coordinator":
        world.coordinator_dies()
        return
    if who == "worker":
        worker = rng.choice(world.fleet.pool)
        worker.kill()
        pause.wait(rng.uniform(0.0, 0.1))
        worker.start()
        return
    seat = rng.choice([one for one in world.fleet.all_seats() if one.host is not None])
    seat.kill()
    pause.wait(rng.uniform(0.0, 0.1))
    if seat in world.fleet.all_seats():  # it may have been retired meanwhile
        seat.start()


def _operate(world: World, seed: int) -> None:
    rng, pause = random.Random(seed), threading.Event()  # noqa: S311
    for number in range(3):
        pause.wait(rng.uniform(0.0, 0.3))
        coordinator = world.fleet.coordinator
        if coordinator is None:
            continue
        target = ClusterTarget(coordinator, Knowledge())
        try:
            match rng.choice(["snapshot", "rollback", "reshard", "failover"]):
                case "snapshot":
                    target.create_snapshot(f"s{seed}-{number}")
                case "rollback":
                    points = target.restore_points()
                    point = rng.choice(points)
                    begin = max(point.positions.get("p", 0), rng.randrange(4_000))
                    target.rollback(point.epoch, {"p": ((begin, begin + 100),)}, dry_run=False)
                case "reshard":
                    target.reshard(rng.choice([1, 2, 3]), dry_run=False)
                case _:
                    target.failover(0)
        except (PsError, IndexError, RuntimeError):
            continue  # the coordinator may have died under it, or a shard
