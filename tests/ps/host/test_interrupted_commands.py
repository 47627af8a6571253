"""A host that stops before any step of a protocol: its standby, or the command repeated, makes up for it."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ps.shard import Shard
from tests.faults.marks import ROOT, Mark, marks_in
from tests.ps.host.hosts import World, caught_up, push
from tests.ps.shards import SPEC, make_push

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from ps.host.host import ShardHost


class StoppedError(Exception):
    """Where the process would have died."""


@contextmanager
def stopping_before(mark: Mark) -> Iterator[list[Mark]]:
    """This thread is stopped when it comes to a step; in the list if it came there."""
    file, came = str(ROOT / mark.file), list[Mark]()

    def in_function(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line" and frame.f_lineno == mark.line and not came:
            came.append(mark)
            raise StoppedError(str(mark))
        return in_function

    before = sys.gettrace()
    sys.settrace(lambda frame, *_: in_function if frame.f_code.co_filename == file else None)
    try:
        yield came
    except StoppedError:
        pass
    finally:
        sys.settrace(before)


SAVING = marks_in("ps/host/held.py", "ps/host/saving.py")
COMMANDS = marks_in("ps/host/host.py")


def expected(steps: int, seed: int = 1) -> str:
    shard = Shard(SPEC)
    for step in range(steps):
        shard.push(make_push(seed, step, step + 1))
    return shard.digest()


def learn_again(host: ShardHost, steps: int) -> None:
    for step in range(host.positions().get("p", 0), steps):
        assert push(host, 1, step)


@pytest.mark.parametrize("mark", SAVING, ids=str)
def test_a_leader_may_die_before_any_step_of_sealing_and_saving(world: World, mark: Mark) -> None:
    leader = world.started("a")
    standby = world.standby("b", leader)
    push(leader, 1, 0)
    caught_up(standby, world.seal(leader))
    world.save(leader)
    push(leader, 1, 1)
    with stopping_before(mark) as came:
        world.seal(leader)
        leader.save(1, world.stands)
    assert came
    world.kill(leader)
    world.lead(standby)
    learn_again(standby, 3)
    world.seal(standby)
    world.save(standby)
    assert world.restored().digest() == standby.digest() == expected(3)


@pytest.mark.parametrize("mark", SAVING, ids=str)
def test_sealing_and_saving_may_be_interrupted_and_repeated(world: World, mark: Mark) -> None:
    leader = world.started("a")
    reader = Shard(SPEC)
    push(leader, 1, 0)
    with stopping_before(mark) as came:
        world.seal(leader)
        leader.save(1, world.stands)
    assert came
    push(leader, 1, 1)
    world.seal(leader)
    world.save(leader)
    assert world.restored().digest() == leader.digest() == expected(2)
    for block in leader.read(reader.cursor, 0.0):
        assert reader.apply(block)
    assert reader.digest() == leader.digest()


@pytest.mark.parametrize("mark", COMMANDS, ids=lambda mark: f"{mark}-line-{mark.line}")
def test_following_leading_and_going_back_may_be_interrupted_and_repeated(
    world: World, mark: Mark
) -> None:
    """One after another in every world, so that each step is come to."""
    came: list[Mark] = []
    leader = world.started("a")
    for step in range(3):
        push(leader, 1, step)
        world.seal(leader)
        world.save(leader)
    standby = world.host("b")
    with stopping_before(mark) as found:
        world.follow(standby, leader)
    came += found
    world.follow(standby, leader)
    # Told again when the store is further on.
    push(leader, 1, 3)
    caught_up(standby, world.seal(leader))
    world.save(leader)
    with stopping_before(mark) as found:
        world.follow(standby, leader)
    came += found
    world.follow(standby, leader)
    world.kill(leader)
    world.generation += 1
    with stopping_before(mark) as found:
        standby.lead(1, world.generation, epoch=world.epoch)
    came += found
    standby.lead(1, world.generation, epoch=world.epoch)
    assert standby.digest() == expected(4)
    push(standby, 1, 4)
    world.seal(standby)
    world.save(standby)
    world.generation += 1
    back = (world.commits[1], world.commits[-1], world.generation)
    with stopping_before(mark) as found:
        standby.go_back(1, *back, epoch=world.epoch)
    came += found
    standby.go_back(1, *back, epoch=world.epoch)
    assert standby.digest() == expected(2)
    learn_again(standby, 4)
    world.seal(standby)
    world.save(standby)
    assert world.restored().digest() == standby.digest() == expected(4)
    assert came
