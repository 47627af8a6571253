"""Going back in a host equals going back in one process, for the shard and for all who follow."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.block import Cursor
from ps.errors import SpecError, StaleGenerationError, StaleTermError
from ps.shard import Shard
from tests.ps.host.hosts import World, caught_up, push
from tests.ps.shards import SPEC, make_push

if TYPE_CHECKING:
    from ps.host.port import GoneBack


def grown(world: World, saves: int, seed: int = 1) -> None:
    """A leader "a" that has saved after each of so many pushes."""
    leader = world.started("a")
    for step in range(saves):
        push(leader, seed, step)
        world.seal(leader)
        world.save(leader)


def go_back(world: World, to: int) -> GoneBack:
    world.generation += 1
    present = world.commits[-1]
    return world.hosts["a"].go_back(
        1, world.commits[to], present, world.generation, epoch=world.epoch
    )


@given(
    saves=st.integers(2, 5),
    to=st.integers(0, 3),
    quiet=st.integers(0, 2),
    again=st.integers(0, 3),
    seed=st.integers(0, 1 << 32),
    pruned=st.booleans(),
)
@settings(max_examples=12, deadline=None)
def test_going_back_takes_everybody_to_the_restore_point(
    saves: int, to: int, quiet: int, again: int, seed: int, pruned: bool
) -> None:
    """Epochs in which nothing happened come between, the way there may not be known in full, and the store,
    the standby and every reader end where a shard does that never learned what was left behind.
    """
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        grown(world, saves, seed)
        leader, to = world.hosts["a"], min(to, saves - 2)
        standby, reader = world.standby("b", leader), Shard(SPEC)
        for _ in range(quiet):
            world.seal(leader)
        for block in leader.read(reader.cursor, 0.0):
            reader.apply(block)
        caught_up(standby, world.sealed)
        with (
            patch("ps.host.stored.changed_between", return_value=None) if pruned else nullcontext()
        ):
            gone = go_back(world, to)
        expected = world.restored(world.commits[to])
        assert leader.digest() == expected.digest()
        assert gone.rows_changed > 0
        assert go_back_again(world, to) == gone
        caught_up(standby, world.seal(leader))
        for block in leader.read(reader.cursor, 0.0):
            reader.apply(block)
        assert standby.digest() == reader.digest() == leader.digest() == expected.digest()
        for step in range(to + 1, to + 1 + again):
            assert push(leader, seed + 1, step)
            expected.push(make_push(seed + 1, step, step + 1))
        world.seal(leader)
        saved = world.save(leader)
        assert not saved.quiet
        assert world.restored().digest() == leader.digest() == expected.digest()
        world.close()


def go_back_again(world: World, to: int) -> GoneBack:
    """The same command once more."""
    return world.hosts["a"].go_back(
        1, world.commits[to], world.commits[-1], world.generation, epoch=world.epoch
    )


def test_what_was_not_saved_is_not_left_behind_unseen(world: World) -> None:
    grown(world, 3)
    leader = world.hosts["a"]
    push(leader, 1, 3)
    before = leader.digest()
    with pytest.raises(SpecError, match="hold the workers"):
        go_back(world, 0)
    assert leader.digest() == before
    assert push(leader, 1, 4)


def test_going_back_needs_a_later_generation_and_term(world: World) -> None:
    grown(world, 3)
    leader = world.hosts["a"]
    before = leader.digest()
    with pytest.raises(SpecError, match="higher"):
        leader.go_back(1, world.commits[0], world.commits[-1], world.generation, epoch=9)
    with pytest.raises(StaleTermError):
        leader.go_back(0, world.commits[0], world.commits[-1], 9, epoch=9)
    assert leader.digest() == before
    with pytest.raises(SpecError, match="restore one first"):
        world.host("b").go_back(1, world.commits[0], world.commits[-1], 9, epoch=9)


def test_owners_are_not_gone_back_behind(world: World) -> None:
    grown(world, 2)
    leader = world.hosts["a"]
    leader.fence({"p": 6})
    go_back(world, 0)
    with pytest.raises(StaleGenerationError):
        push(leader, 1, 1, generation=5)
    assert push(leader, 1, 1, generation=6)


def test_a_restored_shard_goes_back_as_well(world: World) -> None:
    """The leader died just before: its successor from the store stands at the present, too."""
    grown(world, 4)
    world.kill(world.hosts["a"])
    leader = world.started("a")
    go_back(world, 1)
    at = world.seal(leader)
    assert world.save(leader).head.cursor == at
    assert world.restored().digest() == world.restored(world.commits[1]).digest()
    assert leader.hello().positions == {"p": 2}
    assert leader.hello().cursor == Cursor(world.epoch, world.generation)
