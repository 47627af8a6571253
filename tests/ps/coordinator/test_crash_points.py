"""A coordinator that dies between any two numbered steps, and its successor."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from ps.coordinator.target import ClusterTarget
from tests.faults.marks import Mark, marks_in
from tests.ps.coordinator.crashing import Buried, dying_before
from tests.ps.coordinator.fleet import DEADLINE_S, until
from tests.ps.coordinator.test_operations import Knowledge

if TYPE_CHECKING:
    from collections.abc import Callable

    from ps.admin.target import AdminTarget
    from ps.store.commit import Skips
    from tests.ps.coordinator.world import World

# Threads of the dead end in the midst of what they were at.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

SKIPS: Skips = {"p": ((150, 250),)}
OPERATIONS = [
    (operation, mark)
    for operation, files in {
        "none": ("leadership", "commits"),
        "snapshot": ("operations/snapshot", "holding"),
        "rollback": ("operations/rollback",),
        "reshard": ("operations/resharding",),
        "failover": ("operations/failover",),
        "stop": ("coordinator",),
    }.items()
    for file in files
    for mark in marks_in(f"ps/coordinator/{file}.py")
    # The first steps of the coordinator itself are those of its construction.
    if not (operation == "stop" and mark in marks_in("ps/coordinator/coordinator.py")[:3])
]


def test_every_protocol_has_its_steps_marked() -> None:
    assert len(OPERATIONS) >= 30


@pytest.mark.parametrize(
    ("operation", "mark"), OPERATIONS, ids=[f"{what}-{mark}" for what, mark in OPERATIONS]
)
@pytest.mark.parametrize("standbys", [0, 1])
def test_a_successor_goes_on_wherever_the_coordinator_died(
    make_world: Callable[..., World],
    operation: str,
    mark: Mark,
    standbys: int,
    record_property: Callable[[str, object], None],
) -> None:
    world = make_world(standbys=standbys, workers=2)
    if operation == "none":
        with dying_before(mark) as death:
            world.coordinate()
            start(world)
            until(death.reached.is_set, f"it comes to {mark}")
    else:
        world.limit(100)
        world.started()
        world.finish(saved=True)
        epoch = world.newest().at.epoch
        world.limit(200)
        world.finish()
        with dying_before(mark) as death:
            target = ClusterTarget(world.coordinator, Knowledge())
            thread = threading.Thread(target=operate, args=(world, target, operation, epoch))
            thread.start()
            until(lambda: death.reached.is_set() or not thread.is_alive(), f"it comes to {mark}")
    assert death.reached.is_set(), f"the operation came to its end without {mark}"
    record_property("crashes_between_steps", 1)
    world.limit(None)
    world.coordinator_dies().wait_whole(DEADLINE_S)
    skips = world.coordinator.job.ownership.skips
    assert skips in ({}, SKIPS)
    world.check_at_end(skips)
    death.bury()


@pytest.mark.parametrize(
    "mark", marks_in("ps/coordinator/coordinator.py")[:3], ids=lambda mark: f"begin-{mark}"
)
def test_a_coordinator_that_dies_as_it_begins_leaves_the_store_as_it_was(
    make_world: Callable[..., World], mark: Mark
) -> None:
    world = make_world()
    world.limit(100)
    world.started()
    world.finish()
    world.coordinator.stop()
    before = world.newest()
    world.fleet.coordinator = None
    world.shards = 3  # so that bases are written
    world.fleet.resize(3, 0.0)
    with dying_before(mark) as death:
        threading.Thread(target=world.coordinate).start()
        until(death.reached.is_set, f"it comes to {mark}")
    assert world.newest().at == before.at
    world.limit(None)
    world.coordinate(successor=True).wait_whole(DEADLINE_S)
    assert len(world.check_at_end().shards) == 2
    death.bury()


def start(world: World) -> None:
    for worker in world.fleet.pool:
        worker.start()


def operate(world: World, target: AdminTarget, operation: str, epoch: int) -> None:
    try:
        match operation:
            case "snapshot":
                target.create_snapshot("one")
            case "rollback":
                target.rollback(epoch, SKIPS, dry_run=False)
            case "reshard":
                target.reshard(3, dry_run=False)
            case "failover":
                target.failover(0)
            case "stop":
                world.coordinator.stop()
    except Buried:
        return
