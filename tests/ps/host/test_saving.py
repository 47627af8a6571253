"""Saving: whatever fails on the way, the store's chain has no gap and the next save makes up for it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from ps.block import Cursor
from ps.errors import BlockGapError, StoreUnavailableError
from ps.host.held import HostLimits
from ps.store.verify import verify
from tests.ps.host.hosts import World, caught_up, joined, push

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ps.store.location import Buffer


def learn(world: World, first: int, steps: int) -> None:
    """An epoch for each push."""
    for step in range(first, first + steps):
        push(world.hosts["a"], 1, step)
        world.seal(world.hosts["a"])


def test_epochs_are_saved_as_one_block(world: World) -> None:
    leader = world.started("a")
    learn(world, 0, 5)
    saved = world.save(leader)
    assert (saved.head.follows, saved.head.cursor) == (Cursor(0, 0), Cursor(5, 1))
    assert (saved.head.tables, saved.head.dense, saved.head.filters) == ({}, {}, {})
    assert saved.head.positions == {"p": 5}
    status = leader.hello().status
    assert status is not None
    assert sum(saved.rows.values()) == status.rows
    assert saved.n_bytes > 0
    assert world.restored().digest() == leader.digest()


def test_a_save_repeated_is_one_save(world: World) -> None:
    leader = world.started("a")
    learn(world, 0, 2)
    first = leader.save(1, world.stands)
    assert leader.save(1, world.stands) == first
    world.commit(first)
    again = leader.save(1, world.stands)
    assert again.quiet
    assert (again.head.follows, again.head.cursor) == (first.head.cursor, first.head.cursor)
    assert world.restored().digest() == leader.digest()


def test_nothing_is_written_of_epochs_in_which_nothing_happened(world: World) -> None:
    leader = world.started("a")
    learn(world, 0, 1)
    world.save(leader)
    files = len(list(world.location.list("blocks")))
    for _ in range(150):
        world.seal(leader)
        assert world.save(leader).quiet
    assert len(list(world.location.list("blocks"))) == files
    at = world.stands
    learn(world, 1, 1)
    saved = world.save(leader)
    assert (saved.quiet, saved.head.follows) == (False, at)
    assert world.restored().digest() == leader.digest()


@pytest.mark.parametrize("written", [False, True])
def test_a_store_that_fails_is_made_up_for(
    world: World, written: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the file was there before the store said that it was not, or was not."""
    leader = world.started("a")
    learn(world, 0, 2)
    write = world.location.write

    def failing(name: str, parts: Iterable[Buffer]) -> None:
        if written:
            write(name, parts)
        raise StoreUnavailableError("no answer")

    with monkeypatch.context() as patched:
        patched.setattr(world.location, "write", failing)
        for _ in range(3):
            with pytest.raises(StoreUnavailableError):
                leader.save(1, world.stands)
            learn(world, int(leader.positions()["p"]), 1)
    assert world.save(leader).head.follows == Cursor(0, 0)
    assert world.restored().digest() == leader.digest()
    assert not verify(world.location).problems


@pytest.mark.parametrize("committed", [False, True])
def test_between_a_save_and_its_commit_everybody_may_die(world: World, committed: bool) -> None:
    """The leader, and the coordinator: nobody knows whether the commit was made but the store."""
    leader = world.started("a")
    standby = world.standby("b", leader)
    learn(world, 0, 3)
    world.save(leader)
    learn(world, 3, 3)
    caught_up(standby, world.sealed)
    saved = leader.save(1, world.stands)
    if committed:
        world.commit(saved)
    world.kill(leader)
    world.lead(standby)
    assert world.save(standby).quiet == committed
    assert world.restored().digest() == standby.digest()
    assert standby.positions() == {"p": 6}


def test_a_standby_that_fell_behind_the_store_says_so(world: World) -> None:
    """It began with a base of the leader, beyond the store: then the store is what to go on from."""
    leader = world.started("a", HostLimits(log_blocks=1))
    learn(world, 0, 3)
    standby = world.standby("b", leader)
    joined(standby, world, leader)
    world.kill(leader)
    world.lead(standby)
    world.seal(standby)
    with pytest.raises(BlockGapError):
        standby.save(1, world.stands)


def test_a_standby_knows_of_itself_what_the_store_has(world: World) -> None:
    """It looks where the store is before it merges blocks between which it may stand."""
    leader = world.started("a")
    standby = world.standby("b", leader, HostLimits(unsaved_blocks=16))
    for step in range(40):
        push(leader, 1, step)
        caught_up(standby, world.seal(leader))
        if step % 10 == 9:
            world.save(leader)
    world.kill(leader)
    world.lead(standby)
    assert world.save(standby).quiet
    push(standby, 1, 40)
    world.seal(standby)
    assert world.save(standby).head.positions == {"p": 41}
    assert world.restored().digest() == standby.digest()


@pytest.mark.parametrize("reachable", [True, False])
def test_a_standby_follows_on_whether_the_store_can_be_seen_or_not(
    world: World, reachable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader = world.started("a")
    standby = world.standby("b", leader, HostLimits(unsaved_blocks=16))
    push(leader, 1, 0)
    caught_up(standby, world.seal(leader))

    def unreachable(prefix: str) -> object:
        raise StoreUnavailableError("no answer")

    with monkeypatch.context() as patched:
        if not reachable:
            patched.setattr(world.location, "list", unreachable)
        for step in range(1, 40):
            push(leader, 1, step)
            caught_up(standby, world.seal(leader))
        assert standby.hello().last_error is None
    world.kill(leader)
    world.lead(standby)
    assert world.save(standby).head.positions == {"p": 40}
    assert world.restored().digest() == standby.digest()


def test_a_slow_store_holds_up_neither_seals_nor_pushes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader = world.started("a")
    learn(world, 0, 1)
    entered, leave = threading.Event(), threading.Event()
    write = world.location.write

    def slow(name: str, parts: Iterable[Buffer]) -> None:
        entered.set()
        assert leave.wait(20.0)
        write(name, parts)

    monkeypatch.setattr(world.location, "write", slow)
    saved = []
    thread = threading.Thread(target=lambda: saved.append(leader.save(1, Cursor(0, 0))))
    thread.start()
    assert entered.wait(20.0)
    learn(world, 1, 2)
    assert leader.hello().positions == {"p": 3}
    leave.set()
    thread.join()
    assert saved[0].head.positions == {"p": 1}
    monkeypatch.undo()
    world.commit(saved[0])
    assert world.save(leader).head.positions == {"p": 3}
    assert world.restored().digest() == leader.digest()
