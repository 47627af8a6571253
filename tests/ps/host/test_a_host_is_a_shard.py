"""Through a host, any schedule leaves what a bare shard has; the store has what the host has."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.block import Cursor
from ps.errors import (
    BlockGapError,
    NotLeadingError,
    SpecError,
    StaleGenerationError,
    StaleTermError,
)
from ps.host.held import HostLimits
from ps.shard import Shard
from tests.ps.host.hosts import World, push
from tests.ps.shards import SPEC, make_push

if TYPE_CHECKING:
    from ps.host.host import ShardHost

FIDS = {"linear": np.arange(120, dtype=np.uint64), "factors": np.arange(120, dtype=np.uint64)}
ACTS = st.lists(
    st.sampled_from(["push", "push", "seal", "seal", "jump", "save", "unheard save", "restore", "lead"]),
    max_size=30,
)  # fmt: skip


def assert_reads_the_same(host: ShardHost, shard: Shard) -> None:
    pulled, rows, dense = host.pull(FIDS, dense=True), shard.pull(FIDS), shard.pull_dense()
    assert {n: a.tobytes() for n, a in pulled.rows.items()} == {
        n: a.tobytes() for n, a in rows.items()
    }
    assert {n: a.tobytes() for n, a in pulled.dense.items()} == {
        n: a.tobytes() for n, a in dense.items()
    }


@given(acts=ACTS, seed=st.integers(0, 1 << 32), blocks=st.sampled_from([1, 64]))
@settings(max_examples=40, deadline=None)
def test_a_host_is_a_shard(acts: list[str], seed: int, blocks: int) -> None:
    """Saves that the coordinator never hears of and restores included: what they lose is pushed again."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        host, shard, step = world.started("a", HostLimits(unsaved_blocks=blocks)), Shard(SPEC), 0
        saved = shard.digest()
        for act in acts:
            match act:
                case "push":
                    assert push(host, seed, step)
                    assert shard.push(make_push(seed, step, step + 1)).applied
                    step += 1
                case "seal" | "jump":
                    world.seal(host, 1 if act == "seal" else 4)
                case "save":
                    at = world.seal(host)
                    result = world.save(host)
                    assert result.head.follows <= result.head.cursor == at or result.quiet
                    saved = shard.digest()
                case "unheard save":
                    host.save(1, world.stands)
                case "restore":
                    host = world.started("a", HostLimits(unsaved_blocks=blocks))
                    assert host.digest() == saved
                    for again in range(host.positions().get("p", 0), step):
                        assert push(host, seed, again)
                case "lead":
                    world.lead(host)
            assert host.digest() == shard.digest()
        assert_reads_the_same(host, shard)
        world.seal(host)
        world.save(host)
        assert world.restored().digest() == shard.digest()
        world.close()


def test_without_a_shard_nothing_is_done(world: World) -> None:
    host = world.host("a")
    status = host.hello()
    assert (status.role, status.shard, status.cursor, status.address) == ("empty", None, None, "a")
    for call in (
        lambda: host.pull({}, dense=True),
        lambda: host.push(make_push(1, 0, 1)),
        host.positions,
        lambda: host.check(0, 1, "read"),
        lambda: host.seal(1, 1, 0),
    ):
        with pytest.raises(NotLeadingError, match="holds no shard"):
            call()
    with pytest.raises(SpecError, match="restore"):
        host.lead(1, 1, epoch=0)


def test_only_who_leads_takes_pulls_and_pushes(world: World) -> None:
    host = world.host("a")
    assert host.restore(1, SPEC, 1, None).role == "following"
    with pytest.raises(NotLeadingError):
        push(host, 1, 0)
    host.check(0, 1, "read")
    with pytest.raises(NotLeadingError):
        host.check(0, 1, "push")
    world.lead(host)
    host.check(0, 1, "push")
    assert push(host, 1, 0)
    assert host.step_down(1).role == "following"
    for asked in ("pull", "push", "positions", "fence"):
        with pytest.raises(NotLeadingError):
            host.check(0, 1, asked)
    with pytest.raises(NotLeadingError):
        host.positions()
    world.lead(host)
    assert host.positions() == {"p": 1}
    with pytest.raises(NotLeadingError, match="shard 1 of 2"):
        host.check(1, 2, "read")
    # What was meant for a leader that has been restored since, in this very process.
    generation = host.hello().cursor.generation  # type: ignore[union-attr]
    host.check(0, 1, "push", generation)
    host.check(0, 1, "read", generation - 1)
    with pytest.raises(NotLeadingError, match=f"it leads at {generation}"):
        host.check(0, 1, "push", generation - 1)


def test_leading_twice_at_one_generation_is_leading_once(world: World) -> None:
    host = world.started("a")
    push(host, 1, 0)
    before = host.hello()
    host.lead(1, world.generation, epoch=50)
    assert host.hello() == before
    with pytest.raises(SpecError, match="higher"):
        host.lead(1, world.generation - 1, epoch=50)


def test_a_command_of_an_earlier_term_is_refused(world: World) -> None:
    host = world.started("a")
    push(host, 1, 0)
    assert host.step_down(5).role == "following"
    before = host.digest()
    for command in (
        lambda: host.restore(4, SPEC, 1, None),
        lambda: host.follow(4, SPEC, 1, None, "b"),
        lambda: host.lead(4, 9, epoch=0),
        lambda: host.step_down(4),
        lambda: host.seal(4, 9, 0),
        lambda: host.save(4, Cursor(0, 0)),
        lambda: host.expire(4),
    ):
        with pytest.raises(StaleTermError) as caught:
            command()
        assert (caught.value.current, caught.value.sent) == (5, 4)
    assert (host.digest(), host.hello().role) == (before, "following")
    assert host.lead(5, 9, epoch=0).role == "leading"


def test_a_fence_holds_over_failover_and_restore(world: World) -> None:
    host = world.started("a")
    push(host, 1, 0, generation=1)
    host.fence({"p": 7})
    world.seal(host)
    world.save(host)
    again = world.started("b")
    for one in (host, again):
        with pytest.raises(StaleGenerationError):
            push(one, 1, 1, generation=6)
        assert push(one, 1, 1, generation=7)


def test_what_is_sealed_already_is_not_sealed_again(world: World) -> None:
    host = world.started("a")
    push(host, 1, 0)
    assert host.seal(1, 5, 0) == host.seal(1, 5, 0) == host.seal(1, 3, 0) == Cursor(5, 1)
    [block] = host.read(Cursor(0, 0), 0.0)
    assert (block.cursor, block.follows) == (Cursor(5, 1), Cursor(0, 0))


def test_a_gap_to_the_store_is_told(world: World) -> None:
    host = world.started("a")
    push(host, 1, 0)
    world.seal(host)
    world.save(host)
    world.seal(host)
    for wrong in (Cursor(1, 0), Cursor(3, 1), Cursor(0, 0)):
        host.save(1, world.stands)
        with pytest.raises(BlockGapError):
            host.save(1, wrong)


def test_expiry_and_looking_at_rows(world: World) -> None:
    host = world.started("a")
    for step in range(3):
        push(host, 1, step)
    [row] = host.inspect_fid(3, "linear")
    assert (row.shard, row.table) == (0, "linear")
    assert {table.name: table.rows_by_shard for table in host.tables()}.keys() == FIDS.keys()
    [slot] = host.inspect_slot(1, "factors", 2)
    assert len(slot.examples) == 2
    assert host.expire(1) == {"linear": 0, "factors": 0}
    status = host.hello().status
    assert status is not None
    assert status.pushes_applied == 3
