"""The feed over leaders that fail, and a store: whatever happens, a replica comes to hold what they do."""

from __future__ import annotations

import random
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ps.block import Cursor
from ps.client import RoutingClient
from ps.clock import ManualClock, SystemClock
from ps.directory import Directory, Leader
from ps.errors import BlockError, BlockGapError, ForeignBlockError, PsError, SpecError
from ps.net.feed import LeaderFeed, by_network
from ps.net.feed_source import FallbackSource
from ps.net.feed_store import StoredBlocks
from ps.shard import Shard
from serving.follower import Follower, RetryDelays
from serving.from_specs import replica_of
from tests.ps.net.leaders import Leaders
from tests.ps.net.served import TOKEN, HeldShard, serve
from tests.ps.store.models import TABLES, all_fids, push, specs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from serving.replica import Replica

DEADLINE_S = 20.0
WAIT_S = 0.5
HAPPENINGS = (
    *("learn", "learn", "learn", "save", "compact", "kill", "replace", "replace", "cut", "mend"),
    *(
        "mend",
        "pause",
        "resume",
        "resume",
        "tell",
        "tell",
        "restart",
        "wait",
        "wait",
        "wait",
        "wait",
    ),
)


@pytest.fixture
def leaders(tmp_path: Path) -> Iterator[Leaders]:
    made = Leaders(tmp_path, 2)
    yield made
    made.close()


def _stored(leaders: Leaders, *, with_state: bool = False) -> StoredBlocks:
    return StoredBlocks(
        leaders.location,
        model="m",
        clock=SystemClock(),
        with_state=with_state,
        look_every_s=0.0,
    )


def _wait_until(condition: Callable[[], bool], what: str = "") -> None:
    waiting = threading.Event()
    for _ in range(int(DEADLINE_S / 0.005)):
        if condition():
            return
        waiting.wait(0.005)
    raise AssertionError(f"never came true: {what}")


def _stands_at(replica: Replica, at: Cursor) -> bool:
    found = replica.cursor(0)
    return found is not None and (found.epoch, found.generation) == at


class Reader:
    """A replica that follows."""

    def __init__(self, leaders: Leaders, *, store: bool = True, poll_s: float = 0.02) -> None:
        self.replica: Replica = replica_of(leaders.specs, ManualClock())
        self.feed = LeaderFeed(
            leaders.directory,
            leaders.connect,
            store=_stored(leaders) if store else None,
            wait_s=WAIT_S,
        )
        delays = RetryDelays(first_s=0.005, max_s=0.02)
        self.follower = Follower(self.replica, self.feed, poll_s=poll_s, delays=delays)
        self.feed.when_news(self.follower.wake)
        self.follower.start()

    def close(self) -> None:
        self.feed.close()
        assert self.follower.stop()

    def has(self, cursors: list[Cursor]) -> bool:
        at = [self.replica.cursor(shard) for shard in range(len(cursors))]
        return [None if c is None else Cursor(c.epoch, c.generation) for c in at] == cursors

    def wait_a_little(self, leaders: Leaders) -> None:
        """For the leaders' blocks, in case they can be had just now."""
        waiting = threading.Event()
        for _ in range(10):
            if self.has(leaders.cursors()):
                return
            waiting.wait(0.005)

    def wait_for(self, leaders: Leaders) -> None:
        wanted = leaders.cursors()
        _wait_until(lambda: self.has(wanted), f"{wanted}, at {self.replica.version()}")


@contextmanager
def _reading(leaders: Leaders, *, store: bool = True, poll_s: float = 0.02) -> Iterator[Reader]:
    reader = Reader(leaders, store=store, poll_s=poll_s)
    try:
        yield reader
    finally:
        reader.close()


def _assert_equal(replica: Replica, leaders: Leaders) -> None:
    client = RoutingClient(leaders.shards)
    reading = replica.read({table.name: all_fids(table.name) for table in TABLES})
    rows = client.pull({table.name: all_fids(table.name) for table in TABLES})
    for name, wanted in rows.items():
        np.testing.assert_array_equal(reading.rows[name], wanted, name)
    for name, wanted in client.pull_dense().items():
        np.testing.assert_array_equal(reading.dense[name], wanted, name)


@pytest.mark.parametrize("attempt", range(6))
def test_a_replica_that_caught_up_holds_what_the_leaders_do_whatever_happened(
    tmp_path: Path, attempt: int
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"attempt {attempt}, seed {seed}")
    rng = random.Random(seed)  # noqa: S311
    leaders = Leaders(tmp_path, rng.choice([1, 2, 3]), max_blocks=rng.choice([2, 6, 50]))
    reader = Reader(leaders)
    for _ in range(120):
        number = rng.randrange(len(leaders.specs))
        what = rng.choice(HAPPENINGS)
        leader = leaders.leaders[number]
        if what == "learn" and leaders.is_whole:
            leaders.learn(rng.randrange(3))
            leaders.seal()
        elif what == "save" and leaders.is_whole:
            leaders.save()
        elif what == "compact":
            leaders.compact()
        elif what == "kill":
            leaders.kill(number)
        elif what == "replace" and leader is None:
            leaders.replace(number, rng.randrange(4))
        elif what in ("cut", "mend") and leader is not None:
            leader.reachable = what == "mend"
        elif what == "pause":
            reader.feed.pause()
        elif what == "resume":
            reader.feed.resume()
        elif what == "tell":
            reader.feed.turn_to(leaders.tell())
        elif what == "restart":
            reader.close()
            reader = Reader(leaders)
        elif what == "wait":
            reader.wait_a_little(leaders)
    for number, leader in enumerate(leaders.leaders):
        if leader is None:
            leaders.replace(number, rng.randrange(4))
        else:
            leader.reachable = True
    leaders.learn(1)
    leaders.seal()
    reader.feed.turn_to(leaders.tell())
    reader.feed.resume()
    reader.wait_for(leaders)
    print(reader.feed.status().counts)
    _assert_equal(reader.replica, leaders)
    reader.close()
    leaders.close()


def test_a_block_is_applied_when_it_is_sealed_without_polling(leaders: Leaders) -> None:
    leaders.learn(3)
    leaders.save()
    with _reading(leaders, poll_s=3600.0) as reader:
        reader.wait_for(leaders)
        for _ in range(5):
            leaders.learn(1)
            leaders.seal()
            reader.wait_for(leaders)
        _assert_equal(reader.replica, leaders)


def test_bases_come_from_the_store_and_blocks_from_the_leaders(leaders: Leaders) -> None:
    leaders.learn(5)
    leaders.save()
    leaders.learn(2)
    leaders.seal()
    with _reading(leaders) as reader:
        reader.wait_for(leaders)
        counts = reader.feed.status().counts
        assert (counts.bases_from_store, counts.bases_from_leader) == (2, 0)
        assert counts.blocks_from_leader > 0
        _assert_equal(reader.replica, leaders)


def test_without_a_restore_point_bases_come_from_the_leaders(leaders: Leaders) -> None:
    leaders.learn(5)
    leaders.seal()
    with _reading(leaders) as reader:
        reader.wait_for(leaders)
        counts = reader.feed.status().counts
        assert (counts.bases_from_store, counts.bases_from_leader) == (0, 2)


def test_the_store_leads_on_from_within_a_block_while_leaders_are_cut_off(
    leaders: Leaders,
) -> None:
    leaders.learn(3)
    leaders.save()
    with _reading(leaders) as reader:
        leaders.learn(2)
        leaders.seal()
        reader.wait_for(leaders)
        for leader in leaders.leaders:
            assert leader is not None
            leader.reachable = False
        leaders.learn(4)
        leaders.save()
        reader.wait_for(leaders)
        counts = reader.feed.status().counts
        assert counts.blocks_from_store >= 2
        assert counts.bases_from_store == 2
        _assert_equal(reader.replica, leaders)
        _wait_until(lambda: set(reader.feed.status().faults) == {0, 1})
        leaders.learn(1)
        leaders.seal()
        for leader in leaders.leaders:
            assert leader is not None
            leader.reachable = True
        reader.wait_for(leaders)
        _assert_equal(reader.replica, leaders)
        _wait_until(lambda: not reader.feed.status().faults)


def test_blocks_that_a_leader_forgot_come_from_the_store(leaders: Leaders) -> None:
    leaders.learn(3)
    leaders.save()
    with _reading(leaders) as reader:
        reader.wait_for(leaders)
        for leader in leaders.leaders:
            assert leader is not None
            leader.reachable = False
        for _ in range(12):  # three times what the leaders keep
            leaders.learn(1)
            leaders.seal()
        reader.feed.close()  # as if it had hung all the while
        leaders.save()
        for leader in leaders.leaders:
            assert leader is not None
            leader.reachable = True
        again = LeaderFeed(leaders.tell(), leaders.connect, store=_stored(leaders), wait_s=WAIT_S)
        follower = Follower(reader.replica, again, poll_s=0.01)
        with follower:
            reader.wait_for(leaders)
        again.close()
        counts = again.status().counts
        assert counts.blocks_from_store == 2
        assert (counts.bases_from_store, counts.bases_from_leader) == (0, 0)
        _assert_equal(reader.replica, leaders)


def test_what_was_missed_in_a_pause_comes_as_one_block_from_the_leader(leaders: Leaders) -> None:
    leaders.learn(3)
    leaders.save()
    with _reading(leaders) as reader:
        reader.wait_for(leaders)
        before, stood = reader.replica.status().blocks_applied, leaders.cursors()
        reader.feed.pause()
        for _ in range(3):
            leaders.learn(1)
            leaders.seal()
        reader.follower.wake()
        assert reader.feed.read(0, stood[0].epoch, generation=stood[0].generation) == []
        assert reader.has(stood)
        with pytest.raises(BlockError, match="publishing is paused"):
            reader.feed.base(0)
        reader.feed.resume()
        reader.wait_for(leaders)
        assert reader.replica.status().blocks_applied == before + 2
        _assert_equal(reader.replica, leaders)


def test_nothing_of_the_store_is_given_before_a_pause_is_made_up_for(leaders: Leaders) -> None:
    leaders.learn(3)
    leaders.save()
    with _reading(leaders) as reader:
        reader.wait_for(leaders)
        stood = leaders.cursors()
        reader.feed.pause()
        leaders.learn(2)
        leaders.save()
        for leader in leaders.leaders:
            assert leader is not None
            leader.reachable = False
        reader.feed.resume()
        for _ in range(3):
            assert reader.feed.read(0, stood[0].epoch, generation=stood[0].generation) == []
        assert reader.has(stood)
        for leader in leaders.leaders:
            assert leader is not None
            leader.reachable = True
        reader.wait_for(leaders)
        assert reader.feed.status().counts.blocks_from_store == 0


def test_leaders_are_followed_over_the_network() -> None:
    [spec] = specs(1)
    held = HeldShard(Shard(spec))
    held.shard.promote(1)
    push([held.shard], 0)
    held.seal()
    with serve(held) as server:
        directory = Directory((1, 1), (Leader(0, server.address, 1),))
        feed = LeaderFeed(directory, by_network(TOKEN, SystemClock()))
        replica = replica_of([spec], ManualClock())
        follower = Follower(replica, feed, poll_s=3600.0)
        feed.when_news(follower.wake)
        with follower:
            assert replica.wait_ready(DEADLINE_S)
            for step in range(1, 4):
                push([held.shard], step)
                at = held.seal().cursor
                _wait_until(lambda at=at: _stands_at(replica, at), f"{at}")  # type: ignore[misc]
            table = TABLES[0].name
            rows = replica.read({table: all_fids(table)}).rows[table]
            np.testing.assert_array_equal(rows, held.shard.pull({table: all_fids(table)})[table])
            # Nobody leads, then another one does: what is under way to the first is given up.
            feed.turn_to(Directory((1, 2), (None,)))
            assert 0 in feed.status().faults
            feed.turn_to(Directory((1, 3), (Leader(0, server.address, 1),)))
            push([held.shard], 4)
            at = held.seal().cursor
            _wait_until(lambda: _stands_at(replica, at), f"{at}")
        feed.close()


def test_older_directories_and_other_numbers_of_shards_are_refused(leaders: Leaders) -> None:
    with _reading(leaders) as reader:
        old = leaders.directory
        new = leaders.tell()
        reader.feed.turn_to(new)
        reader.feed.turn_to(old)
        assert reader.feed.directory == new
        leaders.leaders.pop()
        with pytest.raises(SpecError, match="cannot turn to 1"):
            reader.feed.turn_to(leaders.tell())


@pytest.mark.parametrize("seed", range(8))
def test_a_base_out_of_the_store_is_the_shard_itself(leaders: Leaders, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311
    for _ in range(rng.randrange(1, 6)):
        leaders.learn(rng.randrange(5))
        leaders.save()
        if rng.random() < 0.4:
            leaders.compact()
    stored = _stored(leaders, with_state=True)
    for number, shard in enumerate(leaders.shards):
        base = stored.base(number, 2)
        assert base is not None
        copy = Shard(leaders.specs[number])
        copy.apply(base)
        assert copy.digest() == shard.digest()
        assert copy.cursor == shard.cursor
        slim = _stored(leaders).base(number, 2)
        assert slim is not None
        assert all(table.state.shape[1] == 0 for table in slim.tables.values())
        assert stored.base(number, 2, beyond=shard.cursor) is None
        assert stored.base(number, 3) is None


def test_a_standby_follows_through_the_store_and_a_leader(leaders: Leaders) -> None:
    leaders.learn(3)
    leaders.save()
    leader = leaders.leaders[0]
    assert leader is not None
    [first, _] = leaders.directory.leaders
    assert first is not None
    source = FallbackSource(0, 2, leaders.connect(first, 2), _stored(leaders, with_state=True))
    standby = Shard(leaders.specs[0])
    for step in range(12):
        leaders.learn(1)
        if step % 4 == 3:
            leaders.save()
        else:
            leaders.seal()
        leader.reachable = step % 5 != 4
        if step % 3 == 2:
            try:
                for block in source.read(standby.cursor, 0.0):
                    standby.apply(block)
            except (BlockGapError, ForeignBlockError):
                standby = Shard(leaders.specs[0])
                standby.apply(source.base())
            except PsError as error:
                print(error)
    leader.reachable = True
    while blocks := source.read(standby.cursor, 0.0):
        for block in blocks:
            standby.apply(block)
    assert standby.digest() == leader.shard.digest()
