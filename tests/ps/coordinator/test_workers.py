"""Partitions move between workers as these come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ps.errors import CodeMismatchError
from tests.ps.coordinator.fleet import DEADLINE_S, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.ps.coordinator.world import World


def owners(world: World) -> dict[str, int]:
    return world.coordinator.job.ownership.owned()


def test_partitions_of_a_dead_worker_move_and_some_come_back(
    make_world: Callable[..., World],
) -> None:
    world = make_world(workers=2, partitions=dict.fromkeys("abcd", 2_000))
    world.started()
    until(lambda: set(owners(world).values()) == {0, 1}, "both have some")
    before = owners(world)
    first = world.coordinator.job.ownership.of(0, world.fleet.pool[0].process or "")
    world.fleet.pool[1].kill()
    until(lambda: set(owners(world).values()) == {0}, "all have moved")
    world.fleet.pool[1].start()
    until(lambda: set(owners(world).values()) == {0, 1}, "half have moved back")
    second = world.coordinator.job.ownership.of(0, world.fleet.pool[0].process or "")
    assert first is not None
    assert second is not None
    assert second.generation > first.generation
    assert sum(owners(world)[p] == before[p] for p in "abcd") >= 2
    world.check_at_end()


def test_a_worker_that_runs_other_code_gets_nothing(make_world: Callable[..., World]) -> None:
    world = make_world(workers=2)
    world.fleet.pool[1].fingerprint = "0.0 py3.11 other"
    world.started()
    until(lambda: set(owners(world).values()) == {0}, "the other has all")
    told = [said for said in world.said if "0.0 py3.11 other" in said]
    assert len(told) == 1
    assert "node of worker 1" in told[0]
    world.check_at_end()


def test_a_job_whose_shards_run_other_code_does_not_start(
    make_world: Callable[..., World],
) -> None:
    world = make_world(workers=0)
    coordinator = world.coordinate(fingerprint="1.0 py3.11 wanted")
    until(lambda: coordinator.job.fitness.refusal("shard-1.0") is not None, "it is refused")
    with pytest.raises(CodeMismatchError, match=r"node of shard-0\.0.*1\.0 py3\.11 wanted"):
        coordinator.wait_whole(0.1)


def test_new_partitions_are_read_too(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ps.coordinator.ownership._LOOK_S", 0.05)
    world = make_world(workers=2)
    world.started()
    world.finish()
    world.fleet.partitions["later"] = 90
    until(lambda: "later" in owners(world), "somebody reads it")
    world.check_at_end()


def test_a_worker_that_fails_is_told_of(make_world: Callable[..., World]) -> None:
    world = make_world(workers=1)
    coordinator = world.started()
    until(lambda: coordinator.job.members.worker(0) is not None, "it reports", DEADLINE_S)
    world.fleet.pool[0].error = "the source is gone"
    until(lambda: coordinator.failure is not None, "it is told")
    assert "the source is gone" in (coordinator.failure or "")
