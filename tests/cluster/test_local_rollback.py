"""Going back to a restore point, and leaving out what was bad."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ps.admission import AdmitAfter
from ps.errors import (
    SpecError,
)
from tests.cluster.operator import Operated, save, some_point, standing_still
from tests.e2e.plans import TABLE, Job

if TYPE_CHECKING:
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
