"""Saving beside training: what holds upkeep back, what pruning leaves, how failures are told."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from ps.block import Cursor
from ps.clock import ManualClock, SystemClock
from ps.errors import FencedError, StoreUnavailableError
from ps.shard import Shard, ShardSpec
from ps.store.background import StoreThread
from ps.store.catalog import Catalog
from ps.store.claim import take_claim
from ps.store.commit import ShardChain
from ps.store.description import describe
from ps.store.holder import Holder
from ps.store.location import Location
from ps.store.names import BASES
from ps.store.retention import RetentionPolicy
from ps.store.upkeep import UpkeepPolicy
from ps.store.writer import Epoch, StoreWriter
from tests.ps.shards import SPEC, make_push

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEADLINE_S = 20.0
KEEP_ALL = UpkeepPolicy(compact_blocks=1 << 30, compact_share=1e9, prune_commits=1 << 30)


class Saved:
    """A shard that learns, and the thread that saves it."""

    def __init__(self, url: str, policy: UpkeepPolicy = KEEP_ALL) -> None:
        self.location = Location.at(url)
        self.claim = take_claim(
            self.location, Holder.of_this_process("test"), clock=SystemClock(), lease_s=60.0
        )
        self.shard = Shard(ShardSpec("m", SPEC.tables, SPEC.dense, 0, 9))
        self.shard.promote(self.claim.generation)
        self.clock = ManualClock(1)
        chains = [ShardChain(0, None, ())]
        described = describe([self.shard.spec])
        writer = StoreWriter(self.location, self.claim, described, chains, clock=self.clock)
        self.thread = StoreThread(self.location, writer, policy, clock=self.clock)
        self.thread.start()

    def save(self, epochs: int) -> None:
        """Learn and save so many epochs."""
        for _ in range(epochs):
            step = self.shard.cursor.epoch
            self.shard.push(make_push(5, step, step + 1))
            self.thread.submit(Epoch((self.shard.seal(self.clock.now_us()),)))
            self.thread.flush(DEADLINE_S)


@pytest.fixture
def saved(tmp_path: Path) -> Iterator[Saved]:
    made = Saved(str(tmp_path))
    yield made
    made.thread.close(DEADLINE_S)
    made.claim.release()


def bases(location: Location) -> list[str]:
    return [info.name for info in location.list(BASES)]


def test_nobody_compacts_or_prunes_while_upkeep_is_held(saved: Saved) -> None:
    saved.save(3)
    done: list[str] = []

    def compact() -> None:
        saved.thread.compact_now()
        done.append("compacted")

    def prune() -> None:
        saved.thread.prune_now()
        done.append("pruned")

    threads = [threading.Thread(target=what) for what in (compact, prune)]
    with saved.thread.upkeep_held():
        for thread in threads:
            thread.start()
        with (
            pytest.raises(StoreUnavailableError, match="under way did not end within"),
            saved.thread.upkeep_held(0.05),
        ):
            pass
        assert done == []
        assert bases(saved.location) == []
        # What deletes nothing need not wait.
        assert saved.thread.prune_now(dry_run=True).points == ()
        saved.save(1)  # commits go on
    for thread in threads:
        thread.join(DEADLINE_S)
    assert sorted(done) == ["compacted", "pruned"]
    assert len(bases(saved.location)) == 1


def test_who_has_been_replaced_deletes_nothing(tmp_path: Path) -> None:
    policy = UpkeepPolicy(retention=RetentionPolicy(points=1), prune_commits=1 << 30)
    saved = Saved(str(tmp_path), policy)
    saved.save(3)
    successor = take_claim(
        saved.location,
        Holder.of_this_process("another"),
        clock=SystemClock(),
        lease_s=60.0,
        takeover=True,
    )
    with pytest.raises(FencedError):
        saved.thread.prune_now()
    assert [point.at for point in Catalog(saved.location).points()] == [
        Cursor(epoch, 1) for epoch in (1, 2, 3)
    ]
    saved.thread.close(DEADLINE_S)
    successor.release()
