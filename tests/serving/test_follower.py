"""The follower: keeps up, starts over on a gap, outlives errors, stops cleanly."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from ps.clock import ManualClock
from ps.errors import BlockGapError
from serving.follower import Follower, RetryDelays
from serving.replica import Replica
from tests.serving.blocks import MODEL, TABLE, DictStore, block, fids

if TYPE_CHECKING:
    from ps.block import Block

DEADLINE_S = 10.0


class ListFeed:
    """A feed over lists of blocks that can lose its past, and its connection."""

    def __init__(self) -> None:
        self.blocks: dict[int, list[Block]] = defaultdict(list)
        self.bases: dict[int, Block] = {}
        self.broken: Exception | None = None
        self.failed = threading.Event()

    def read(self, shard: int, after_epoch: int, *, generation: int) -> list[Block]:
        del generation  # gaps and foreign blocks are for the replica to find
        self._maybe_fail()
        later = [b for b in self.blocks[shard] if b.epoch > after_epoch]
        if later and later[0].epoch != after_epoch + 1:
            raise BlockGapError(shard, after_epoch + 1, later[0].epoch)
        return later[:2]

    def base(self, shard: int) -> Block:
        self._maybe_fail()
        return self.bases[shard]

    def _maybe_fail(self) -> None:
        if self.broken is not None:
            self.failed.set()
            raise self.broken


class WatchedReplica(Replica):
    """Tells when it has applied epoch 9."""

    def __init__(self, shards: int) -> None:
        super().__init__(
            MODEL,
            {TABLE: DictStore},
            ManualClock(),
            shards=shards,
            owner=lambda wanted: (wanted % 2).astype("int64"),
        )
        self.arrived = threading.Event()

    def apply(self, block: Block) -> bool:
        applied = super().apply(block)
        if block.epoch == 9:
            self.arrived.set()
        return applied


def _replica(shards: int = 1) -> WatchedReplica:
    return WatchedReplica(shards)


def _feed(shards: int = 1) -> ListFeed:
    feed = ListFeed()
    for shard in range(shards):
        feed.bases[shard] = block(3, {shard: 3.0}, shard=shard, base=True)
        feed.blocks[shard] = [block(e, {shard: float(e)}, shard=shard) for e in range(1, 9)]
    return feed


def _value(replica: Replica, fid: int = 0) -> float:
    return float(replica.read({TABLE: fids(fid)}).rows[TABLE][0, 0])


def test_it_starts_from_a_base_and_applies_what_follows_of_every_shard() -> None:
    replica, feed = _replica(2), _feed(2)
    applied = Follower(replica, feed).catch_up()
    assert applied == 2 * (1 + 5)
    assert [s.epoch for s in replica.version().shards] == [8, 8]
    assert [_value(replica, fid) for fid in (0, 1)] == [8.0, 8.0]


def test_a_gap_leads_to_a_base_and_on() -> None:
    replica, feed = _replica(), _feed()
    follower = Follower(replica, feed)
    follower.catch_up()
    feed.blocks[0] = [block(e, {0: float(e)}) for e in range(20, 23)]
    feed.bases[0] = block(20, {0: 20.0}, base=True)
    follower.catch_up()
    assert _value(replica) == 22.0
    assert follower.status().bases_read == 2


def test_a_new_generation_leads_to_its_base() -> None:
    replica, feed = _replica(), _feed()
    follower = Follower(replica, feed)
    follower.catch_up()
    feed.bases[0] = block(6, {0: 60.0}, base=True, generation=1)
    feed.blocks[0] = [block(e, {0: 10.0 * e}, generation=1) for e in range(7, 12)]
    follower.catch_up()
    assert _value(replica) == 110.0


def test_a_shard_that_fails_does_not_hold_up_the_others() -> None:
    replica, feed = _replica(2), _feed(2)
    del feed.bases[0]
    with pytest.raises(KeyError):
        Follower(replica, feed).catch_up()
    cursor = replica.cursor(1)
    assert cursor is not None
    assert cursor.epoch == 8


def test_it_outlives_errors_and_reports_them() -> None:
    replica, feed = _replica(), _feed()
    feed.broken = OSError("the store is away")
    with Follower(replica, feed, delays=RetryDelays(first_s=0.001, max_s=0.002)) as follower:
        assert feed.failed.wait(DEADLINE_S)
        feed.failed.clear()
        assert feed.failed.wait(DEADLINE_S)
        status = follower.status()
        assert status.running
        assert status.failures >= 1
        assert status.last_error == "OSError: the store is away"
        feed.broken = None
        assert replica.wait_ready(DEADLINE_S)
    assert not follower.status().running


def test_it_applies_a_block_as_soon_as_it_is_woken() -> None:
    replica, feed = _replica(), _feed()
    with Follower(replica, feed, poll_s=3600.0) as follower:
        assert replica.wait_ready(DEADLINE_S)
        feed.blocks[0].append(block(9, {0: 9.0}))
        follower.wake()
        assert replica.arrived.wait(DEADLINE_S)
    assert _value(replica) == 9.0


def test_it_stops_in_the_midst_of_a_long_retry() -> None:
    feed = _feed()
    feed.broken = OSError("away")
    follower = Follower(_replica(), feed, delays=RetryDelays(first_s=3600.0, max_s=3600.0))
    follower.start()
    assert feed.failed.wait(DEADLINE_S)
    assert follower.stop(DEADLINE_S)


def test_the_waits_between_retries_double_up_to_a_bound() -> None:
    delays = RetryDelays(first_s=0.1, max_s=1.0)
    assert [delays.after(n) for n in (1, 2, 3, 4, 5, 10_000)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
