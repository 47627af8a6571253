"""What an operator does to a run: rollback, resharding, failover, pauses, snapshots."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
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
from tests.cluster.operator import Operated
from tests.e2e.plans import TABLE, Job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster.local import LocalRun
    from ps.admin.target import RestorePoint, RollbackReport

BAD = {"synthetic-0": ((700, 1_100),), "synthetic-1": ((900, 901),)}
JOBS = {
    "counting": Job("counting", shards=2),
    "logistic by example": Job(grain="example"),
    "fm, expiring": Job("fm", shards=2, ttl_s=5),
    "fm, rare fids": Job("fm", admission=AdmitAfter(2)),
    "deepfm, four shards": Job("deepfm", shards=4),
    "deepfm, two passes": Job("deepfm", passes=2, records=3_000),
}


@contextmanager
def standing_still(run: LocalRun) -> Iterator[None]:
    """No batch between the steps of what an operator does: on a busy machine, that could be all."""
    run.target.pause("training")
    try:
        yield
    finally:
        run.target.resume("training")


def save(run: LocalRun) -> None:
    """Have all that is sealed in the store."""
    store = run._durability
    assert store is not None
    run._control.call("saving", store.save_now, deadline_s=30.0)


def some_point(run: LocalRun, epoch: int) -> int:
    """A restore point at about an epoch: where the disk is slow, epochs that wait become one."""
    save(run)
    return min(
        (point.epoch for point in run.target.restore_points()), key=lambda at: abs(at - epoch)
    )


def before_it_got_bad(run: LocalRun) -> int:
    """The newest restore point in front of everything that is to be left out."""
    save(run)
    good = [
        point.epoch
        for point in run.target.restore_points()
        if all(point.positions.get(name, 0) <= BAD[name][0][0] for name in BAD)
    ]
    return good[-1]


def roll_back(run: LocalRun) -> RollbackReport:
    with standing_still(run):
        return run.target.rollback(before_it_got_bad(run), dict(BAD), dry_run=False)


@pytest.mark.parametrize("name", JOBS)
def test_a_rollback_equals_a_run_that_never_saw_the_range(name: str, tmp_path: Path) -> None:
    job = replace(JOBS[name], store=tmp_path / "store")
    clean = Operated(replace(job, store=None), skips=dict(BAD)).to_the_end()
    run = Operated(job, {11: roll_back}, serve=True)
    found = run.to_the_end()
    assert not run.errors, run.errors
    report = run.answers[11]
    assert found == clean
    assert report.to_epoch < report.from_epoch < report.epoch
    assert report.generation == 2
    assert report.rows_changed > 0
    assert report.skips == BAD
    assert run.run.target.status().skips == BAD
    # The range stays out, and so does everything after it.
    again = Operated(job).to_the_end()
    assert again == clean


@pytest.mark.parametrize("between", ["compaction", "resharding", "failover", "pruning"])
def test_a_rollback_goes_past_what_was_done_since(between: str, tmp_path: Path) -> None:
    job = Job("counting", shards=2, store=tmp_path / "store", standbys=1)
    clean = Operated(replace(job, store=None, standbys=0), skips=dict(BAD)).to_the_end()

    def do(run: LocalRun) -> None:
        with standing_still(run):
            save(run)
            store = run._durability
            assert store is not None
            if between == "compaction":
                store.compact()
            elif between == "resharding":
                run.target.reshard(3, dry_run=False)
            elif between == "failover":
                run.target.failover(1)
            else:
                for file in sorted((tmp_path / "store" / "commits").iterdir())[6:-1]:
                    file.unlink()
                run.target.prune(dry_run=False)

    run = Operated(job, {9: do, 14: roll_back}, serve=True)
    found = run.to_the_end()
    assert not run.errors, run.errors
    if between == "resharding":
        whole = Operated(
            replace(job, store=None, standbys=0, shards=3), skips=dict(BAD)
        ).to_the_end()
        assert found == whole
        job = replace(job, shards=3)
    else:
        assert found == clean
    assert Operated(job).to_the_end() == found


def test_a_replica_that_was_ahead_follows_a_rollback(tmp_path: Path) -> None:
    job = Job("fm", shards=2, ttl_s=20, store=tmp_path / "store")

    def catch_up(run: LocalRun) -> None:
        def do() -> None:
            [serving] = run._publishing.serving
            serving.follower.catch_up()

        run._control.call("catching up", do, deadline_s=30.0)

    run = Operated(job, {3: catch_up, 10: catch_up, 11: roll_back}, serve=True, stop_at=16)
    with run.run:
        run.run.run(run._stop)
        [serving] = run.run._publishing.serving
        bases = serving.follower.status().bases_read
        serving.follower.catch_up()
        assert serving.follower.status().bases_read == bases
        for shard in run.run._learning.shards:
            rows = shard.table(TABLE).export()
            found = serving.replica.read({TABLE: rows.fids.copy()})
            assert found.rows[TABLE].tobytes() == rows.weights.tobytes()
            assert found.unknown == {TABLE: 0}
        assert serving.replica.status().rows == run.run.progress().rows
    assert not run.errors


def test_a_rollback_can_be_taken_back(tmp_path: Path) -> None:
    job = Job("fm", shards=2, store=tmp_path / "store")
    whole = Operated(replace(job, store=None)).to_the_end()
    reports: list[RollbackReport] = []

    def back(run: LocalRun) -> None:
        with standing_still(run):
            reports.append(run.target.rollback(some_point(run, 4), {}, dry_run=False))

    def forward(run: LocalRun) -> None:
        reports.append(run.target.rollback(reports[0].from_epoch, {}, dry_run=False))

    run = Operated(job, {9: back, 12: forward})
    found = run.to_the_end()
    assert not run.errors, run.errors
    assert found == whole


def test_a_dry_run_says_what_a_rollback_would_do(tmp_path: Path) -> None:
    job = Job("fm", store=tmp_path / "store")

    def dry_run(run: LocalRun) -> RollbackReport:
        with standing_still(run):
            save(run)
            return run.target.rollback(some_point(run, 4), dict(BAD), dry_run=True)

    dry = Operated(job, {9: dry_run})
    whole = Operated(replace(job, store=None)).to_the_end()
    assert dry.to_the_end() == whole
    assert not dry.errors, dry.errors
    report = dry.answers[9]
    assert report.dry_run
    assert report.to_epoch < report.from_epoch
    assert report.rows_changed > 0
    assert report.generation == 2


def after_it_got_bad(run: LocalRun) -> RestorePoint:
    """The oldest restore point that has learned some of what is to be left out."""
    return next(
        point
        for point in run.target.restore_points()
        if any(point.positions.get(name, 0) > BAD[name][0][0] for name in BAD)
    )


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_a_restore_point_has_learned_is_not_left_out(dry_run: bool, tmp_path: Path) -> None:
    job = Job("fm", shards=2, store=tmp_path / "store")

    def ask(run: LocalRun) -> tuple[int, RestorePoint]:
        with standing_still(run):
            good, bad = before_it_got_bad(run), after_it_got_bad(run)
            run.target.rollback(bad.epoch, dict(BAD), dry_run=dry_run)
            raise AssertionError(good)

    run = Operated(job, {14: ask})
    whole = Operated(replace(job, store=None)).to_the_end()
    assert run.to_the_end() == whole
    error = run.errors[14]
    assert isinstance(error, SpecError), error
    points = run.run.target.restore_points()
    good = max(
        point.epoch
        for point in points
        if all(point.positions.get(name, 0) <= BAD[name][0][0] for name in BAD)
    )
    bad = after_it_got_bad(run.run)
    assert f"restore point {bad.epoch} has learned" in str(error)
    partition = next(name for name in BAD if bad.positions[name] > BAD[name][0][0])
    assert f"of {partition}, where it stands at {bad.positions[partition]:,}" in str(error)
    assert f"stands before it is {good}:" in str(error)


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_partition_that_is_not_there_cannot_be_left_out(dry_run: bool, tmp_path: Path) -> None:
    job = Job("fm", passes=2, records=3_000, store=tmp_path / "store")

    def ask(run: LocalRun) -> None:
        with standing_still(run):
            save(run)
            run.target.rollback(some_point(run, 4), {"synthetic-7": ((700, 800),)}, dry_run=dry_run)

    run = Operated(job, {9: ask})
    run.to_the_end()
    known = "synthetic-0, synthetic-1, synthetic-0#1, synthetic-1#1"
    with pytest.raises(SpecError, match=rf"no partition 'synthetic-7'.*it has {known}"):
        raise run.errors[9]


def test_what_was_learned_in_an_earlier_pass_is_not_left_out(tmp_path: Path) -> None:
    job = Job("fm", passes=2, records=3_000, store=tmp_path / "store")

    def ask(run: LocalRun) -> None:
        with standing_still(run):
            save(run)
            newest = run.target.restore_points()[-1]
            assert "synthetic-0#1" in newest.positions
            run.target.rollback(newest.epoch, {"synthetic-0": ((700, 800),)}, dry_run=False)

    run = Operated(job, {18: ask})
    run.to_the_end()
    with pytest.raises(SpecError, match="700 to 800 of synthetic-0, where it stands at 1,500"):
        raise run.errors[18]


def test_a_skip_is_taken_back_by_going_back_beyond_it(tmp_path: Path) -> None:
    """To a point at which the range had been learned, or from which it is read again."""
    job = Job("counting", shards=2, store=tmp_path / "store")
    whole = Operated(replace(job, store=None)).to_the_end()

    def back_and_again(run: LocalRun) -> list[RollbackReport]:
        run.target.pause("training")
        try:
            good = before_it_got_bad(run)
            first = run.target.rollback(good, dict(BAD), dry_run=False)
            dry = run.target.rollback(good, {}, dry_run=True)
            before = run.target.rollback(good, {}, dry_run=False)
            again = run.target.rollback(good, dict(BAD), dry_run=False)
            save(run)
            # What left the range out may be gone back to with it.
            after = run.target.rollback(again.epoch, dict(BAD), dry_run=False)
            learned = run.target.rollback(first.from_epoch, {}, dry_run=False)
        finally:
            run.target.resume("training")
        return [dry, before, after, learned]

    run = Operated(job, {14: back_and_again}, serve=True)
    found = run.to_the_end()
    assert not run.errors, run.errors
    assert found == whole
    dry, before, after, learned = run.answers[14]
    for report in (dry, before, learned):
        assert (report.skips, report.learned_again) == ({}, BAD)
    assert (after.skips, after.learned_again) == (BAD, {})
    assert run.run.target.status().skips == {}


def test_what_was_left_out_may_be_named_again_later(tmp_path: Path) -> None:
    job = Job("counting", shards=2, store=tmp_path / "store")
    more = {"synthetic-1": ((2_800, 2_900),)}
    both = {**BAD, "synthetic-1": (*BAD["synthetic-1"], *more["synthetic-1"])}
    clean = Operated(replace(job, store=None), skips=both).to_the_end()

    def again(run: LocalRun) -> RollbackReport:
        with standing_still(run):
            save(run)
            newest = run.target.restore_points()[-1]
            assert newest.positions["synthetic-0"] > BAD["synthetic-0"][0][1]
            return run.target.rollback(newest.epoch, both, dry_run=False)

    run = Operated(job, {9: roll_back, 22: again})
    found = run.to_the_end()
    assert not run.errors, run.errors
    assert found == clean
    assert run.answers[22].skips == both


@pytest.mark.parametrize(("before", "after"), [(1, 3), (4, 2)])
def test_resharding_changes_nothing_of_what_is_learned(
    before: int, after: int, tmp_path: Path
) -> None:
    job = Job("fm", shards=before, ttl_s=5, store=tmp_path / "store", standbys=1)
    whole = Operated(replace(job, store=None, shards=after, standbys=0)).to_the_end()
    run = Operated(job, {7: lambda run: run.target.reshard(after, dry_run=False)}, serve=True)
    found = run.to_the_end()
    report = run.answers[7]
    assert (report.shards_before, report.shards_after) == (before, after)
    assert report.rows > 0
    assert len(run.run._learning.shards) == after
    assert found["metrics"]["total"].keys() == whole["metrics"]["total"].keys()
    assert found["examples"] == whole["examples"]
    [serving] = run.run._publishing.serving
    assert serving.replica.shards == after
    # It goes on from there, on as many shards.
    again = Operated(replace(job, shards=after)).to_the_end()
    assert again["digest"] == found["digest"]


def test_resharding_keeps_exact_counts(tmp_path: Path) -> None:
    job = Job("counting", store=tmp_path / "store")
    whole = Operated(replace(job, store=None, shards=3)).to_the_end()
    run = Operated(job, {7: lambda run: run.target.reshard(3, dry_run=False)}, serve=True)
    assert run.to_the_end() == {**whole, "rows": whole["rows"]}


def test_a_failover_loses_and_repeats_nothing(tmp_path: Path) -> None:
    job = Job("counting", shards=3, sync_interval_s=0.1)
    whole = Operated(job).to_the_end()
    with_standby = Operated(
        replace(job, standbys=1),
        {8: lambda run: run.target.failover(1), 15: lambda run: run.target.failover(0)},
    )
    assert with_standby.to_the_end() == whole
    assert [with_standby.answers[at].source for at in (8, 15)] == ["standby", "standby"]
    assert [with_standby.answers[at].generation for at in (8, 15)] == [1, 2]
    from_store = Operated(
        replace(job, store=tmp_path / "store", commit_every_s=0.1),
        {8: lambda run: run.target.failover(1), 15: lambda run: run.target.failover(0)},
    )
    assert from_store.to_the_end() == whole
    assert [from_store.answers[at].source for at in (8, 15)] == ["store", "store"]
    neither = Operated(job, {8: lambda run: run.target.failover(1)})
    assert neither.to_the_end() == whole
    assert isinstance(neither.errors[8], NoStoreError)


def test_a_failover_from_the_store_follows_epochs_in_which_nothing_happened(tmp_path: Path) -> None:
    """They are not saved, so the shard that is restored stands behind them."""
    job = Job("counting", shards=2, store=tmp_path / "store", commit_every_s=1e6)
    whole = Operated(replace(job, store=None)).to_the_end()

    def be_quiet(run: LocalRun) -> None:
        def do() -> None:
            run._epochs.seal()
            save(run)
            run._epochs.seal()
            [serving] = run._publishing.serving
            serving.follower.catch_up()
            bases.append(serving.follower.status().bases_read)

        run._control.call("sealing", do, deadline_s=30.0)

    bases: list[int] = []
    run = Operated(job, {8: be_quiet, 9: lambda run: run.target.failover(1)}, serve=True)
    with run.run:
        run.run.run(run._stop)
        assert not run.errors, run.errors
        [serving] = run.run._publishing.serving
        serving.follower.catch_up()
        # What it had and the shard had not yet is no reason to begin anew.
        assert serving.follower.status().bases_read == bases[0]
        assert serving.replica.status().rows == run.run.progress().rows
        assert run.run.digest() == whole["digest"]
    status = run.run.target.status().store
    assert status is not None
    assert (status.state, status.last_error) == ("ok", None)
    assert Operated(job).to_the_end() == whole


def apart(folder: Path) -> Job:
    """Endless, and with epochs long enough that a failover leaves the shards apart."""
    return Job(
        "fm", shards=2, records=None, store=folder / "store", commit_every_s=0.1,
        sync_interval_s=0.1,
    )  # fmt: skip


def test_a_snapshot_waits_until_the_shards_stand_together(tmp_path: Path) -> None:
    job = apart(tmp_path)

    def snapshot(run: LocalRun) -> RestorePoint:
        try:
            with standing_still(run):
                run.target.failover(0)
                look = run._learning.client.resume_cuts
                cuts = run._control.call("looking", look, deadline_s=30.0)
                assert any(len(positions) > 1 for positions in cuts.values())
            return run.target.create_snapshot("together")
        finally:
            operated._stop.set()

    operated = Operated(job, {8: snapshot})
    operated.to_the_end()
    assert not operated.errors, operated.errors
    assert operated.answers[8].aligned


@pytest.mark.parametrize("what", ["snapshot", "reshard", "reshard, dry run"])
def test_shards_that_cannot_come_together_are_told_of(what: str, tmp_path: Path) -> None:
    job = apart(tmp_path)

    def operate(run: LocalRun) -> object:
        if what == "snapshot":
            return run.target.create_snapshot("together")
        return run.target.reshard(3, dry_run="dry" in what)

    def ask(run: LocalRun) -> object:
        with standing_still(run):
            run.target.failover(0)
            with pytest.raises(JobBusyError, match="ps-admin resume training"):
                operate(run)
        try:
            return operate(run)
        finally:
            operated._stop.set()

    operated = Operated(job, {8: ask})
    operated.to_the_end()
    assert not operated.errors, operated.errors
    assert len(operated.run._learning.shards) == (3 if what == "reshard" else 2)


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


def test_a_run_that_holds_is_operated_on(tmp_path: Path) -> None:
    """After the end of the stream, a rollback has it read again."""
    job = Job("counting", shards=2, store=tmp_path / "store")
    clean = Operated(replace(job, store=None), skips=dict(BAD)).to_the_end()
    run = Operated(job)
    stop = threading.Event()
    reports: list[RollbackReport] = []

    def operate() -> None:
        while run.run.target.status().state != "finished":
            threading.Event().wait(0.01)
        reports.append(roll_back(run.run))
        while run.run.progress().examples != clean["examples"]:
            threading.Event().wait(0.01)
        stop.set()

    thread = threading.Thread(target=operate)
    thread.start()
    with run.run:
        run.run.run(stop, hold=True)
        thread.join(60)
        assert run.run.digest() == clean["digest"]
    assert len(reports) == 1
    assert np.isfinite(reports[0].seconds)
