"""Upkeep of the store beside what an operator does: nothing that is needed is ever deleted."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from cluster.local import GoOnFrom, LocalRun
from cluster.local.durability import Durability
from ps.clock import ManualClock
from ps.errors import StoreUnavailableError
from ps.store.catalog import Catalog
from ps.store.opening import open_location
from tests.cluster.operator import Operated, result
from tests.e2e.plans import Job, plan_of

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.plan import Plan

_LONG_S = 60.0


def keeping_one(job: Job) -> Plan:
    """Its plan, with a store that keeps the newest restore point only."""
    plan = plan_of(job)
    assert plan.store is not None
    return replace(plan, store=replace(plan.store, keep_points=1))


@pytest.mark.parametrize("shards", [2, 3])
def test_what_a_run_goes_on_from_stays_until_it_has_committed(shards: int, tmp_path: Path) -> None:
    """The restore point asked for, and bases cut anew from it that nobody names yet."""
    job = Job("fm", shards=2, store=tmp_path / "store")
    Operated(job).to_the_end()
    whole = Operated(replace(job, store=None, shards=shards)).to_the_end()
    points = Catalog(open_location(str(job.store))).points()
    at = points[len(points) // 2].at.epoch
    clock = ManualClock(1)
    plan = keeping_one(replace(job, shards=shards))
    with LocalRun(plan, clock=clock, serve=False, go_on_from=GoOnFrom(at)) as run:
        run.target.prune(dry_run=False)
        assert at in [point.epoch for point in run.target.restore_points()]
        assert result(run, run.run()) == whole
        run.target.prune(dry_run=False)
        [left] = run.target.restore_points()
    assert left.epoch > at
    with LocalRun(plan, clock=clock, serve=False) as run:
        assert run.digest() == whole["digest"]


def test_pruning_waits_while_shards_are_cut_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job("fm", store=tmp_path / "store")
    whole = Operated(replace(job, store=None, shards=3)).to_the_end()
    threads: list[threading.Thread] = []
    restore = Durability.restore

    def prune_meanwhile(self: Durability, *args: Any) -> Any:
        thread = threading.Thread(target=lambda: run.run.target.prune(dry_run=False))
        thread.start()
        threads.append(thread)
        with pytest.raises(StoreUnavailableError), self._thread.upkeep_held(0.01):
            pass
        return restore(self, *args)

    monkeypatch.setattr(Durability, "restore", prune_meanwhile)
    run = Operated(job, {7: lambda run: run.target.reshard(3, dry_run=False)}, serve=True)
    found = run.to_the_end()
    assert not run.errors, run.errors
    [thread] = threads
    thread.join(_LONG_S)
    assert not thread.is_alive()
    assert found["examples"] == whole["examples"]
    again = Operated(replace(job, shards=3))
    assert again.to_the_end()["digest"] == found["digest"]


def test_bases_of_a_resharding_that_failed_are_nobody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job seals the very epoch next that they were written at."""
    job = Job("counting", shards=2, store=tmp_path / "store", standbys=1)
    whole = Operated(replace(job, store=None, standbys=0)).to_the_end()

    def fail(self: Durability, *args: Any) -> Any:
        raise StoreUnavailableError("the disk is full; make room")

    monkeypatch.setattr(Durability, "restore", fail)
    run = Operated(
        job,
        {
            7: lambda run: run.target.reshard(3, dry_run=False),
            12: lambda run: run.target.failover(1),
        },
        serve=True,
    )
    found = run.to_the_end()
    assert list(run.errors) == [7]
    assert found == whole
    inventory = Catalog(open_location(str(job.store))).survey()
    assert len(inventory.bases) == 3
    newest = inventory.newest
    assert newest is not None
    named = {(chain.shard, at) for chain in newest.shards for at in chain.blocks}
    assert not named & inventory.bases.keys()
    monkeypatch.undo()
    assert Operated(job).to_the_end() == whole


def test_a_resharding_whose_epoch_is_not_saved_yet_is_done_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job("counting", shards=2, store=tmp_path / "store")
    whole = Operated(replace(job, store=None, shards=3)).to_the_end()
    save_now, calls = Durability.save_now, []

    def sometimes(self: Durability) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise StoreUnavailableError("the disk is full; make room")
        return save_now(self)

    monkeypatch.setattr(Durability, "save_now", sometimes)
    run = Operated(job, {7: lambda run: run.target.reshard(3, dry_run=False)}, serve=True)
    assert run.to_the_end() == whole
    assert isinstance(run.errors[7], StoreUnavailableError)
    [serving] = run.run._publishing.serving
    assert serving.replica.shards == 3
    assert Operated(replace(job, shards=3)).to_the_end() == whole
