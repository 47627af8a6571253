"""Saving beside training: what holds upkeep back, what pruning leaves, how failures are told."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ps.block import Cursor
from ps.clock import ManualClock, SystemClock
from ps.errors import FencedError, StoreUnavailableError
from ps.shard import Shard, ShardSpec
from ps.store import compactor, upkeep
from ps.store.background import StoreThread
from ps.store.catalog import Catalog
from ps.store.claim import take_claim
from ps.store.commit import ShardChain
from ps.store.description import describe
from ps.store.holder import Holder
from ps.store.names import BASES
from ps.store.opening import open_location
from ps.store.retention import RetentionPolicy
from ps.store.upkeep import UpkeepPolicy
from ps.store.writer import Epoch, StoreWriter
from tests.ps.shards import SPEC, make_push

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ps.store.location import Location

DEADLINE_S = 20.0
KEEP_ALL = UpkeepPolicy(compact_blocks=1 << 30, compact_share=1e9, prune_commits=1 << 30)


class Saved:
    """A shard that learns, and the thread that saves it."""

    def __init__(self, url: str, policy: UpkeepPolicy = KEEP_ALL) -> None:
        self.location = open_location(url)
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


def until(holds: Callable[[], bool]) -> None:
    """Wait for another thread."""
    pause = threading.Event()
    for _ in range(int(DEADLINE_S * 1000)):
        if holds():
            return
        pause.wait(0.001)
    raise AssertionError("it never came to hold")


def failing(policy: UpkeepPolicy, first_s: float) -> UpkeepPolicy:
    """Compaction after every commit."""
    return replace(policy, compact_blocks=1, upkeep_first_s=first_s)


def test_a_compaction_that_fails_is_not_tried_at_every_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[int] = []

    def fail(*_: object, **__: object) -> int:
        tried.append(1)
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(upkeep, "compact", fail)
    others = _compacting()
    saved = Saved(str(tmp_path), failing(KEEP_ALL, first_s=1e6))
    saved.save(1)
    until(lambda: saved.thread.status().last_error is not None)
    saved.save(10)
    assert len(tried) == 1
    assert saved.thread.status().last_error == "compaction failed: ZeroDivisionError: a defect"
    assert len([one for one in caplog.records if one.exc_info]) == 1
    saved.thread.close(DEADLINE_S)  # which the wait does not hold up
    assert not _compacting() - others


def test_each_kind_of_failure_is_told_once_and_pruning_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[Exception] = [
        StoreUnavailableError("no room"),
        ZeroDivisionError("a defect"),
        *(StoreUnavailableError("still no room") for _ in range(5)),
    ]
    compact = compactor.compact

    def sometimes(*args: Any, **kwargs: Any) -> int:
        if errors:
            raise errors.pop(0)
        return compact(*args, **kwargs)

    monkeypatch.setattr(upkeep, "compact", sometimes)
    policy = replace(KEEP_ALL, retention=RetentionPolicy(points=2), prune_commits=5)
    saved = Saved(str(tmp_path), failing(policy, first_s=1e-4))
    saved.save(1)
    until(lambda: not errors and saved.thread.status().last_error is None)
    told = [one.getMessage() for one in caplog.records if "failed" in one.getMessage()]
    assert [one.split(";")[0] for one in told] == [
        "compaction failed: no room",
        "compaction failed: ZeroDivisionError: a defect",
    ]
    errors += [StoreUnavailableError("no room") for _ in range(1_000_000)]
    saved.save(20)
    until(lambda: len(Catalog(saved.location).points()) < 8)
    saved.thread.close(DEADLINE_S)


def test_the_wait_doubles_up_to_a_minute(saved: Saved) -> None:
    upkeep = saved.thread._upkeep
    delays = []
    for failures in range(1, 10):
        upkeep._failures_in_a_row = failures
        delays.append(upkeep._delay_s())
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_what_the_store_holds_is_known_from_the_start_and_after_pruning(tmp_path: Path) -> None:
    policy = replace(KEEP_ALL, retention=RetentionPolicy(points=2))
    saved = Saved(str(tmp_path), policy)
    saved.save(6)
    written = saved.thread.status()
    assert written.restore_points == 6
    # A later run, and one that has pruned.
    location = saved.location
    chains = [ShardChain(0, None, ())]
    described = describe([saved.shard.spec])
    writer = StoreWriter(location, saved.claim, described, chains, clock=saved.clock)
    later = StoreThread(location, writer, policy, clock=saved.clock)
    later.start()
    until(lambda: later.status().restore_points == 6)
    assert later.status().stored_bytes == bytes_in(location) >= written.stored_bytes > 0
    later.close(DEADLINE_S)
    saved.thread.prune_now()
    status = saved.thread.status()
    assert status.restore_points == 2
    assert status.stored_bytes == bytes_in(location)
    saved.save(1)
    assert saved.thread.status().restore_points == 3
    saved.thread.close(DEADLINE_S)


def bytes_in(location: Location) -> int:
    return sum(info.size for info in location.list())


def test_a_store_that_does_not_answer_is_failing_and_says_for_how_long(
    saved: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, asked, answers = StoreWriter.commit, threading.Event(), threading.Event()
    fails: list[Exception] = []

    def slow(self: StoreWriter, epoch: Epoch) -> Any:
        asked.set()
        assert answers.wait(DEADLINE_S)
        if fails:
            answers.clear()
            asked.clear()
            raise fails.pop()
        return commit(self, epoch)

    def learn() -> None:
        """An epoch, submitted."""
        step = saved.shard.cursor.epoch
        saved.shard.push(make_push(5, step, step + 1))
        saved.thread.submit(Epoch((saved.shard.seal(saved.clock.now_us()),)))

    saved.save(1)
    monkeypatch.setattr(StoreWriter, "commit", slow)
    learn()
    assert asked.wait(DEADLINE_S)
    saved.clock.advance_s(9.0)
    assert (saved.thread.status().state, saved.thread.status().last_error) == ("ok", None)
    saved.clock.advance_s(17.0)
    status = saved.thread.status()
    assert status.state == "failing"
    assert "has not answered for 26 s; check that it can be reached" in str(status.last_error)
    # An attempt that was given up, and the next one: it still fails, and says why.
    fails.append(StoreUnavailableError("could not be written within 60 s"))
    answers.set()
    until(lambda: saved.thread.status().last_error == "could not be written within 60 s")
    assert saved.thread.status().state == "failing"
    assert asked.wait(DEADLINE_S)
    saved.clock.advance_s(20.0)
    assert "has not answered for 20 s" in str(saved.thread.status().last_error)
    answers.set()
    saved.thread.flush(DEADLINE_S)
    assert (saved.thread.status().state, saved.thread.status().last_error) == ("ok", None)


def test_a_store_that_answers_with_an_error_is_not_called_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: StoreWriter, epoch: Epoch) -> Any:
        raise StoreUnavailableError("no room")

    monkeypatch.setattr(StoreWriter, "commit", fail)
    saved = Saved(str(tmp_path), replace(KEEP_ALL, retry_first_s=60.0, retry_max_s=60.0))
    saved.shard.push(make_push(5, 0, 1))
    saved.thread.submit(Epoch((saved.shard.seal(0),)))
    until(lambda: saved.thread.status().last_error is not None)
    saved.clock.advance_s(50.0)
    status = saved.thread.status()
    assert (status.state, status.last_error) == ("failing", "no room")
    saved.thread._stop.set()
    saved.thread.close(DEADLINE_S)


def _compacting() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "compact"}
