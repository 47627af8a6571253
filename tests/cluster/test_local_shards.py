"""Other shards take the place of those there are: resharding and failover."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ps.errors import JobBusyError, NoStoreError
from tests.cluster.operator import Operated, save, standing_still
from tests.e2e.plans import Job

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.local import LocalRun
    from ps.admin.target import RestorePoint


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
