"""What an operator does to a run besides: pauses, snapshots, looking at it."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from cluster.local import GoOnFrom
from ps.admission import AdmitAfter
from ps.errors import (
    ForeignBlockError,
    JobBusyError,
    NoRestorePointError,
    NoStoreError,
    SpecError,
)
from tests.cluster.operator import Operated, some_point, standing_still
from tests.e2e.plans import TABLE, Job

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.local import LocalRun
    from ps.admin.target import RestorePoint


def test_what_an_operator_does_is_in_the_log(tmp_path: Path) -> None:
    def operate(run: LocalRun) -> None:
        target = run.target
        with standing_still(run):
            early = some_point(run, 2)
            target.rollback(early, {}, dry_run=True)
            target.rollback(early, {"synthetic-0": ((2_000, 2_100),)}, dry_run=False)
            target.rollback(early, {}, dry_run=False)
            target.create_snapshot("monday")
            target.reshard(3, dry_run=False)
            target.failover(1)
            target.prune(dry_run=True)
            target.prune(dry_run=False)
            target.expire()
            with pytest.raises(SpecError):
                target.failover(9)

    run = Operated(Job("fm", shards=2, store=tmp_path / "store"), {9: operate})
    run.to_the_end()
    assert not run.errors, run.errors
    lines = [line for line in run.said if line.startswith("operator: ")]
    expected = (
        r"pause training: paused",
        r"rollback to epoch \d: back from epoch \d+ to \d, on .* left out: synthetic-0:2000-2100",
        r"restore to epoch \d: .* left out: nothing, no longer: synthetic-0:2000-2100",
        r"snapshot monday: epoch \d+, [\d,]+ rows",
        r"reshard to 3: from 2 to 3 shards with [\d,]+ rows, on as epoch \d+, generation \d",
        r"failover of shard 1: replaced from store at epoch \d+, generation \d",
        r"prune: \d+ restore points and \d+ files deleted, \d+ bytes",
        rf"expire: freed 0 rows of {TABLE}",
        r"failover of shard 9: not done: there is no shard 9; they are 0 to 2",
        r"resume training: goes on",
    )
    assert len(lines) == len(expected), lines
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(rf"operator: {pattern} \(\d+\.\d\d s\)", line), line


def test_publishing_goes_on_after_shards_were_replaced_and_not_before() -> None:
    run = Operated(Job("counting", shards=2), serve=True)
    with run.run:
        publishing = run.run._publishing
        [feed] = publishing._feeds
        with publishing.standing_still():
            publishing.pause()
            publishing.resume()
            paused = [feed._paused]
        paused.append(feed._paused)
        with publishing.standing_still():
            publishing.pause()
        paused.append(feed._paused)
        assert paused == [True, False, True]
        assert publishing.paused


def test_who_reads_the_store_holds_up_nobody_who_restores(tmp_path: Path) -> None:
    run = Operated(Job("fm", store=tmp_path / "store"))
    with run.run:
        run.run.run(run._stop)
        store = run.run._durability
        assert store is not None
        newest, found = store.newest(), []

        def restore() -> None:
            found.extend(store.restore(newest, run.run._learning.specs))

        with store.reading():
            thread = threading.Thread(target=restore)
            thread.start()
            thread.join(30)
            assert not thread.is_alive()
        assert [shard.digest() for shard in found] == [
            shard.digest() for shard in run.run._learning.shards
        ]


def test_what_a_replaced_shard_still_seals_is_refused() -> None:
    job = Job("counting", shards=2, standbys=1)
    old = []

    def fail_over(run: LocalRun) -> None:
        old.append(run._learning.shards[1])
        run.target.failover(1)

    run = Operated(job, {8: fail_over})
    run.to_the_end()
    assert run.run._learning.shards[1] is not old[0]
    with pytest.raises(ForeignBlockError, match="has been replaced"):
        run.run._publishing.log.append(old[0].seal(5))


@pytest.mark.parametrize("what", ["training", "publishing"])
def test_pausing_changes_nothing_of_what_is_learned(what: str, tmp_path: Path) -> None:
    job = Job("fm", shards=2, store=tmp_path / "store")
    whole = Operated(replace(job, store=None)).to_the_end()
    seen: list[int] = []

    def pause(run: LocalRun) -> None:
        run.target.pause(what)  # type: ignore[arg-type]
        run.target.pause(what)  # type: ignore[arg-type]
        for _ in range(3):
            # Between two batches, if there are any: it answers while it is paused, too.
            assert run.target.tables()[0].rows > 0
            status = run.target.status()
            assert status.paused == (what,)
            seen.append(run._learning.trainer.examples)
        run.target.resume(what)  # type: ignore[arg-type]

    run = Operated(job, {6: pause}, serve=True)
    assert run.to_the_end() == whole
    assert not run.errors
    if what == "training":
        assert len(set(seen[1:])) == 1
    assert run.run.target.status().paused == ()


def test_the_rate_is_none_of_before_a_pause() -> None:
    rates: list[float] = []

    def pause(run: LocalRun) -> None:
        try:
            for what in (lambda _: None, run.target.pause, run.target.resume):
                run._control.call("telling", run._tell, deadline_s=30.0)
                rates.append(run.target.status().examples_per_s)
                what("training")
                rates.append(run.target.status().examples_per_s)
            assert run._loop.rate.per_s is None or run._loop.rate.per_s > 1_000
        finally:
            operated._stop.set()

    operated = Operated(Job("fm", records=None), {9: pause})
    operated.to_the_end()
    assert not operated.errors, operated.errors
    # 256 examples every 20 ms.
    assert rates[:3] == pytest.approx([12_800] * 3, rel=0.3)
    assert rates[3:5] == [0.0, 0.0]


def test_what_is_not_published_is_caught_up_with_at_once() -> None:
    job = Job("fm", shards=2)

    def follow(run: LocalRun) -> int:
        def do() -> int:
            [serving] = run._publishing.serving
            serving.follower.catch_up()
            version = serving.replica.cursor(1)
            assert version is not None
            return version.epoch

        return run._control.call("following", do, deadline_s=30.0)

    def pause(run: LocalRun) -> int:
        epoch = follow(run)
        run.target.pause("publishing")
        return epoch

    def age_s(run: LocalRun) -> float:
        [replica] = run.target.status().replicas
        assert replica.age_s is not None
        return replica.age_s

    def resume(run: LocalRun) -> tuple[int, int]:
        with standing_still(run):
            before = follow(run)
            # 12 batches of 20 ms since it was paused.
            assert 0.2 < age_s(run) < 0.5
            run.target.resume("publishing")
            caught_up = follow(run)
            assert age_s(run) < 0.2
        return before, caught_up

    run = Operated(job, {3: pause, 15: resume}, serve=True)
    run.to_the_end()
    assert not run.errors
    before, after = run.answers[15]
    assert before == run.answers[3]
    assert after > before + 1
    [serving] = run.run._publishing.serving
    assert serving.replica.status().bases_applied == 2


def test_a_snapshot_is_aligned_and_stays(tmp_path: Path) -> None:
    job = Job("fm", shards=2, store=tmp_path / "store")

    def snapshot(run: LocalRun) -> RestorePoint:
        run.target.pause("training")
        point = run.target.create_snapshot("monday")
        for name in ("monday", "../monday"):
            with pytest.raises(SpecError):
                run.target.create_snapshot(name)
        run.target.resume("training")
        return point

    run = Operated(
        job, {5: snapshot, 9: lambda run: run.target.create_snapshot("tuesday")}, stop_at=2_000
    )
    whole = Operated(replace(job, store=None)).to_the_end()
    assert run.to_the_end() == whole
    assert run.errors.keys() <= {9}  # the run may have ended before
    point = run.answers[5]
    assert point.pinned_by == "monday"
    assert point.aligned
    found = Operated(job, go_on_from=GoOnFrom(point.epoch))
    assert f"resumed at epoch {point.epoch}" in found.said[-1]
    assert found.to_the_end() == whole


def test_an_operator_sees_tables_rows_and_slots() -> None:
    job = Job("fm", shards=2, ttl_s=50, admission=AdmitAfter(2))

    def look(run: LocalRun) -> None:
        target = run.target
        target.pause("training")
        [table] = target.tables()
        assert (table.name, table.width) == (TABLE, 5)
        assert table.rows == sum(table.rows_by_shard) > 0
        assert "ttl 50s, admitted after 2" in table.slots[1]
        [slot] = target.inspect_slot(1, None, 3)
        assert slot.rows > len(slot.examples) == 3
        first = slot.examples[0]
        assert first.present
        assert first.last_seen_s == slot.newest_seen_s
        [row] = target.inspect_fid(first.fid, TABLE)
        assert row == first
        assert row.expires_s == slot.newest_seen_s + 50  # type: ignore[operator]
        [missing] = target.inspect_fid((1 << 48) + (1 << 40), None)
        assert not missing.present
        assert missing.occurrences == 0
        assert missing.weights == [0.0] * 5
        with pytest.raises(SpecError, match="no table has slot 77"):
            target.inspect_fid(77 << 48, None)
        assert target.expire()[TABLE] >= 0
        target.resume("training")
        status = target.status()
        assert (status.job, status.state, len(status.shards)) == ("test", "training", 2)

    run = Operated(job, {12: look})
    run.to_the_end()
    assert not run.errors, run.errors


def test_without_a_store_its_operations_say_so() -> None:
    asked = {
        2: lambda run: run.target.restore_points(),
        3: lambda run: run.target.create_snapshot("x"),
        4: lambda run: run.target.rollback(1, {}, dry_run=False),
        5: lambda run: run.target.prune(dry_run=True),
        6: lambda run: run.target.reshard(2, dry_run=False),
    }
    run = Operated(Job("fm"), asked)
    run.to_the_end()
    assert {type(error) for error in run.errors.values()} == {NoStoreError}
    assert len(run.errors) == 5


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    asked = {
        2: lambda run: run.target.rollback(999, {}, dry_run=False),
        3: lambda run: run.target.reshard(1, dry_run=False),
        4: lambda run: run.target.reshard(0, dry_run=True),
        5: lambda run: run.target.failover(7),
        6: lambda run: run.target.prune(dry_run=True),
    }
    job = Job("fm", store=tmp_path / "store")
    run = Operated(job, asked)
    whole = Operated(replace(job, store=None)).to_the_end()
    assert run.to_the_end() == whole
    assert isinstance(run.errors[2], NoRestorePointError)
    assert {type(run.errors[at]) for at in (3, 4, 5)} == {SpecError}
    assert run.answers[6].dry_run


def test_a_run_that_has_ended_refuses_in_time() -> None:
    run = Operated(Job("fm", records=600))
    run.to_the_end()
    with pytest.raises(JobBusyError):
        run.run.target.tables()
    assert run.run.target.status().state == "finished"
