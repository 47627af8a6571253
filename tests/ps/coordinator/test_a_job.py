"""A job under its coordinator: whoever dies, everything is learned once."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

import pytest

from tests.ps.coordinator.fleet import DEADLINE_S, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.ps.coordinator.world import World


def test_a_job_that_nobody_disturbs_is_learned_and_saved(make_world: Callable[..., World]) -> None:
    world = make_world(workers=2)
    world.started()
    commit = world.check_at_end()
    assert commit.worker


def test_a_leader_that_dies_is_replaced_by_itself_started_again(
    make_world: Callable[..., World],
) -> None:
    world = make_world()
    world.started()
    world.limit(100)
    until(lambda: world.position("p") >= 50, "some learning")
    seat = world.fleet.leading(1)
    seat.kill()
    until(lambda: world.coordinator.directory.leaders[1] is None, "it is noticed")
    seat.start()
    world.coordinator.wait_whole(DEADLINE_S)
    world.limit(None)
    world.check_at_end()


def test_a_standby_takes_over_what_was_not_saved(make_world: Callable[..., World]) -> None:
    world = make_world(standbys=1, commit_every_s=3600.0)
    coordinator = world.started()
    until(lambda: world.position("p") >= 50, "some learning")
    follower = next(s for s in world.fleet.seats(0) if s.name != world.fleet.leading(0).name)
    until(lambda: follower.port.hello().positions.get("p", 0) >= 50, "the standby follows")
    world.fleet.leading(0).kill()
    until(
        lambda: world.fleet.coordinator is not None and led_by(world, 0) == follower.name, "moved"
    )
    assert coordinator.leadership.sources[0] == "standby"
    assert coordinator.job.keeping.newest is None  # so it was not from the store
    world.finish()
    world.check_at_end()


def test_another_coordinator_adopts_what_is_there(make_world: Callable[..., World]) -> None:
    world = make_world(standbys=1, workers=2)
    first = world.started()
    until(lambda: world.position("p") >= 50, "some learning")
    processes = [led.process for led in first.job.leaders.all().values()]
    second = world.coordinator_dies()
    second.wait_whole(DEADLINE_S)
    assert [led.process for led in second.job.leaders.all().values()] == processes
    assert second.job.term > first.job.term
    world.check_at_end()


@pytest.mark.parametrize("seed", range(6))
def test_every_example_counts_once_whoever_is_killed_when(
    make_world: Callable[..., World], seed: int, record_property: Callable[[str, object], None]
) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)  # noqa: S311
    world = make_world(
        shards=rng.choice([1, 2, 3]),
        standbys=rng.choice([0, 1, 1]),
        workers=rng.choice([1, 2, 3]),
        partitions={"p": 3_000, "q": 2_500, "r": 2_000},
    )
    world.started()
    kills = 0
    pause = threading.Event()
    for _ in range(12):
        pause.wait(rng.uniform(0.0, 0.12))
        match rng.choice(["leader", "leader", "standby", "worker", "coordinator"]):
            case "coordinator":
                world.coordinator_dies()
            case "worker":
                worker = rng.choice(world.fleet.pool)
                worker.kill()
                pause.wait(rng.uniform(0.0, 0.05))
                worker.start()
            case who:
                seats = [s for s in world.fleet.all_seats() if s.host is not None]
                role = "leading" if who == "leader" else "following"
                seats = [s for s in seats if s.host and s.host.hello().role == role]
                if not seats:
                    continue
                seat = rng.choice(seats)
                seat.kill()
                pause.wait(rng.uniform(0.0, 0.05))
                seat.start()
        kills += 1
    record_property("coordinated_kills", kills)
    world.check_at_end()


def led_by(world: World, shard: int) -> str | None:
    led = world.coordinator.job.leaders.of(shard)
    return None if led is None else led.seat.name
