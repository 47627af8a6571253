"""A standby equals its leader after any schedule, and saves what a dead leader had not."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.block import Cursor
from ps.errors import BlockGapError, PsError
from ps.host.held import HostLimits
from ps.shard import Shard
from ps.store.verify import verify
from tests.ps.host.hosts import DEADLINE_S, World, caught_up, joined, push, until
from tests.ps.shards import SPEC, make_push

if TYPE_CHECKING:
    from ps.block import Block

ACTS = st.lists(
    st.sampled_from(["push", "push", "seal", "save", "standby", "die", "change over"]),
    min_size=4,
    max_size=25,
)


@given(acts=ACTS, seed=st.integers(0, 1 << 32), log_blocks=st.sampled_from([1, 600]))
@settings(max_examples=25, deadline=None)
def test_whoever_leads_everything_is_learned_once(
    acts: list[str], seed: int, log_blocks: int
) -> None:
    """Leaders die between any two steps; what died with them is pushed again, and nothing twice."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        limits = HostLimits(log_blocks=log_blocks)
        leader, seats, step = world.started("seat-0", limits), 1, 0
        standby = world.standby("seat-1", leader, limits)
        for act in [*acts, "seal"]:
            match act:
                case "push":
                    assert push(leader, seed, step)
                    step += 1
                case "seal":
                    caught_up(standby, world.seal(leader))
                    assert standby.digest() == leader.digest()
                case "save":
                    try:
                        world.save(leader)
                    except BlockGapError:  # it began with a base, beyond where the store is
                        assert log_blocks == 1
                        world.kill(leader)
                        leader = world.started(leader.address, limits)
                        world.follow(standby, leader)
                        joined(standby, world, leader)
                        for again in range(leader.positions().get("p", 0), step):
                            assert push(leader, seed, again)
                case "standby":
                    seats += 1
                    world.kill(standby)
                    standby = world.standby(f"seat-{seats}", leader, limits)
                    joined(standby, world, leader)
                case "die" | "change over":
                    caught_up(standby, world.sealed)
                    seats += 1
                    old, leader = leader, standby
                    if act == "die":
                        world.kill(old)
                        old = world.host(f"seat-{seats}", limits)
                    else:
                        old.step_down(1)
                    world.lead(leader)
                    standby = old
                    world.follow(standby, leader)
                    joined(standby, world, leader)
                    for again in range(leader.positions().get("p", 0), step):
                        assert push(leader, seed, again)
        expected = Shard(SPEC)
        for one in range(step):
            expected.push(make_push(seed, one, one + 1))
        assert leader.digest() == expected.digest()
        world.close()


def test_what_began_amid_an_epoch_does_not_lead_before_its_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has what its leader learned since the last epoch, which no block of its own would have."""
    leader = world.started("a", HostLimits(log_blocks=1))
    for _ in range(2):
        world.seal(leader)
    reader = Shard(SPEC)
    assert reader.apply(leader.base())
    push(leader, 1, 0)
    has_begun, read = threading.Event(), leader.read

    def note(after: Cursor, wait_s: float) -> list[Block]:
        if after == world.sealed:
            has_begun.set()
        return read(after, wait_s)

    monkeypatch.setattr(leader, "read", note)
    standby = world.standby("b", leader)  # the leader's log does not reach back to the beginning
    assert has_begun.wait(DEADLINE_S)
    assert (standby.hello().cursor, standby.hello().positions) == (Cursor(0, 0), {})
    joined(standby, world, leader)
    push(leader, 1, 1)
    world.kill(leader)
    world.lead(standby)
    assert standby.positions() == {"p": 1}
    push(standby, 1, 1)
    caught_up(standby, world.seal(standby))
    # The leader's last block is in the standby's log.
    for block in standby.read(reader.cursor, 0.0):
        assert reader.apply(block)
    assert reader.digest() == standby.digest()


def test_a_promoted_standby_saves_what_the_dead_leader_had_not(world: World) -> None:
    leader = world.started("a")
    standby = world.standby("b", leader)
    for step in range(3):
        push(leader, 1, step)
        world.seal(leader)
    world.save(leader)
    for step in range(3, 6):
        push(leader, 1, step)
        caught_up(standby, world.seal(leader))
    lost, was = world.stands, standby.digest()
    world.kill(leader)
    world.lead(standby)
    assert standby.hello().role == "leading"
    assert (standby.digest(), standby.positions()) == (was, {"p": 6})
    saved = world.save(standby)
    assert (saved.head.follows, saved.head.positions) == (lost, {"p": 6})
    assert world.restored().digest() == was
    push(standby, 1, 6)
    world.seal(standby)
    world.save(standby)
    assert world.restored().digest() == standby.digest()
    assert not verify(world.location).problems
    # Whatever process comes next finds the same.
    again = world.started("c")
    assert again.digest() == standby.digest()


def test_a_commit_the_leader_never_heard_of_is_no_gap(world: World) -> None:
    """The store may stand where the last save ended, or where it stood before."""
    leader = world.started("a")
    standby = world.standby("b", leader)
    push(leader, 1, 0)
    caught_up(standby, world.seal(leader))
    unheard = leader.save(1, world.stands)
    push(leader, 1, 1)
    caught_up(standby, world.seal(leader))
    world.kill(leader)
    world.lead(standby)
    assert standby.save(1, Cursor(0, 0)).head.follows == Cursor(0, 0)
    world.commit(unheard)
    assert world.save(standby).head.follows == unheard.head.cursor
    assert world.restored().digest() == standby.digest()


def test_readers_go_on_from_the_promoted_standby(world: World) -> None:
    leader = world.started("a")
    standby = world.standby("b", leader)
    push(leader, 1, 0)
    reader = Shard(SPEC)
    caught_up(standby, world.seal(leader))
    for block in leader.read(reader.cursor, 0.0):
        assert reader.apply(block)
    world.kill(leader)
    world.lead(standby)
    push(standby, 1, 1)
    world.seal(standby, 3)
    for block in standby.read(reader.cursor, 0.0):
        assert reader.apply(block)
    assert reader.digest() == standby.digest()


def test_a_base_between_promotion_and_the_first_epoch_leads_on(world: World) -> None:
    leader = world.started("a")
    standby = world.standby("b", leader)
    push(leader, 1, 0)
    caught_up(standby, world.seal(leader))
    world.epoch += 5
    world.lead(standby)
    push(standby, 1, 1)
    reader = Shard(SPEC)
    assert reader.apply(standby.base())
    assert standby.read(reader.cursor, 0.0) == []
    world.seal(standby)
    for block in standby.read(reader.cursor, 0.0):
        assert reader.apply(block)
    assert reader.digest() == standby.digest()


def test_to_lead_is_to_follow_no_more(world: World) -> None:
    """A leader that is replaced while it lives is not listened to, whatever it still seals."""
    leader = world.started("a")
    standby = world.standby("b", leader)
    push(leader, 1, 0)
    caught_up(standby, world.seal(leader))
    world.lead(standby)
    push(leader, 2, 1)
    leader.seal(1, 99, 0)
    push(standby, 1, 1)
    expected = Shard(SPEC)
    for step in range(2):
        expected.push(make_push(1, step, step + 1))
    world.seal(standby)
    assert standby.digest() == expected.digest()
    # The one replaced begins anew: nothing of what it learned last stays.
    world.follow(leader, standby)
    caught_up(leader, world.sealed)
    assert leader.digest() == expected.digest()


def test_a_standby_outlives_its_leaders_absence(world: World) -> None:
    leader = world.started("a")
    standby = world.standby("b", leader)
    push(leader, 1, 0)
    caught_up(standby, world.seal(leader))
    world.save(leader)
    world.kill(leader)
    until(lambda: standby.hello().last_error is not None, lambda: "an error of the standby")
    again = world.started("a")
    push(again, 1, 1)
    caught_up(standby, world.seal(again))
    assert standby.digest() == again.digest()
    until(lambda: standby.hello().last_error is None, lambda: "the standby over its error")


def test_told_where_the_store_is_a_standby_forgets(world: World) -> None:
    leader = world.started("a")
    standby = world.standby("b", leader)
    for step in range(4):
        push(leader, 1, step)
        caught_up(standby, world.seal(leader))
    world.save(leader)
    before = standby.hello()
    world.follow(standby, leader)
    assert standby.hello() == before
    with pytest.raises(BlockGapError):
        standby.save(1, Cursor(0, 0))
    assert standby.save(1, world.stands).quiet


def test_pushes_beside_seals_reach_the_standby(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take turns with the pieces of epochs that are being gathered, and with bases."""
    monkeypatch.setattr("ps.host.held._GATHER_ROWS", 7)
    leader = world.started("a")
    standby = world.standby("b", leader)
    faults: list[BaseException] = []

    def pushing(partition: str) -> None:
        try:
            for step in range(40):
                leader.push(make_push(7, step, step + 1, partition=partition))
                leader.pull(
                    {"linear": make_push(7, step, step + 1).rows["linear"].fids}, dense=True
                )
        except PsError as error:
            faults.append(error)

    threads = [threading.Thread(target=pushing, args=(name,)) for name in ("p", "q", "r")]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        world.seal(leader)
        late = Shard(SPEC)
        assert late.apply(leader.base())
    for thread in threads:
        thread.join()
    assert not faults
    caught_up(standby, world.seal(leader))
    assert standby.digest() == leader.digest()
    assert leader.positions() == {"p": 40, "q": 40, "r": 40}
    world.save(leader)
    assert world.restored().digest() == leader.digest()
