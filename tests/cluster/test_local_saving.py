"""Saving beside training: a store that fails, one that is taken over, and epochs of nothing."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from cluster.errors import UnsavedError
from cluster.local import LocalRun, durability, saving
from ps.clock import ManualClock, SystemClock
from ps.errors import FencedError, StoreUnavailableError
from ps.store.claim import take_claim
from ps.store.holder import Holder
from ps.store.opening import open_location
from ps.store.writer import StoreWriter
from tests.cluster.operator import Operated
from tests.e2e.plans import Job, plan_of

if TYPE_CHECKING:
    from pathlib import Path

    from ps.admin.target import StoreStatus


def test_training_goes_on_while_the_store_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job("fm", shards=2, store=tmp_path / "store")
    whole = Operated(replace(job, store=None)).to_the_end()
    commit, failing = StoreWriter.commit, threading.Event()
    failed: list[int] = []

    def sometimes(self: StoreWriter, epoch: Any) -> Any:
        if failing.is_set():
            failed.append(epoch.blocks[0].epoch)
            raise StoreUnavailableError("the disk is full; make room")
        return commit(self, epoch)

    monkeypatch.setattr(StoreWriter, "commit", sometimes)

    def fail(run: LocalRun) -> None:
        failing.set()

    def look(run: LocalRun) -> str | None:
        run.target.pause("training")
        pause = threading.Event()
        status = store_status(run)
        for _ in range(2_000):
            if status.state == "failing":
                break
            pause.wait(0.01)
            status = store_status(run)
        failing.clear()
        run.target.resume("training")
        assert status.waiting_blocks > 0
        return status.last_error

    run = Operated(job, {4: fail, 15: look})
    assert run.to_the_end() == whole
    assert run.answers[15] == "the disk is full; make room"
    assert failed
    # What could not be saved then was saved later.
    again = Operated(job)
    assert "6,000 examples" in again.said[-1]
    assert again.to_the_end() == whole


def store_status(run: LocalRun) -> StoreStatus:
    status = run.target.status().store
    assert status is not None
    return status


def test_what_is_not_saved_in_the_end_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: StoreWriter, epoch: Any) -> Any:
        raise StoreUnavailableError("the disk is full; make room")

    monkeypatch.setattr(StoreWriter, "commit", fail)
    monkeypatch.setattr(durability, "_SAY_S", 0.01)
    monkeypatch.setattr(durability, "FLUSH_S", 0.02)
    run = Operated(Job("fm", store=tmp_path / "store"))
    with pytest.raises(UnsavedError, match="the disk is full"):
        run.to_the_end()
    assert any("takes a while" in line for line in run.said)


def test_saving_that_has_ended_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(epochs: Any) -> Any:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(saving, "_as_one", fail)
    run = Operated(Job("fm", store=tmp_path / "store"))
    with pytest.raises(UnsavedError, match="a defect"):
        run.to_the_end()
    status = store_status(run.run)
    assert status.state == "failing"
    assert status.last_error == "saving has ended: ZeroDivisionError: a defect"


def test_a_run_that_has_been_replaced_stops(tmp_path: Path) -> None:
    job = Job("fm", store=tmp_path / "store", records=None, passes=1)

    def take_over(run: LocalRun) -> None:
        take_claim(
            open_location(str(tmp_path / "store")),
            Holder.of_this_process("another"),
            clock=SystemClock(),
            lease_s=60.0,
            takeover=True,
        )

    run = Operated(job, {4: take_over})
    with pytest.raises(FencedError, match="taken over"):
        run.to_the_end()
    assert run.run.target.status().state == "failed"


def test_epochs_in_which_nothing_happens_are_no_restore_points(tmp_path: Path) -> None:
    plan = plan_of(Job("fm", shards=2, store=tmp_path / "store"))
    clock = ManualClock(1)
    with LocalRun(plan, clock=clock, serve=False) as run:
        run.run()
        points = len(run.target.restore_points())
        for _ in range(20):
            clock.advance_s(1.0)
            run._epochs.seal()
        run._succession.durability.save_now()  # type: ignore[union-attr]
        assert len(run.target.restore_points()) == points
        digest = run.digest()
        # One that is asked for is made, and follows all of them.
        run._epochs.seal(asked_for=True)
        run._succession.durability.save_now()  # type: ignore[union-attr]
        assert len(run.target.restore_points()) == points + 1
    with LocalRun(plan, clock=clock, serve=False) as run:
        assert run.digest() == digest


def test_restore_points_are_as_far_apart_as_asked_for(tmp_path: Path) -> None:
    """Epochs every 20 ms of the test's clock, a restore point every 200."""
    job = Job("fm", shards=2, store=tmp_path / "store", sync_interval_s=0.0, commit_every_s=0.2)
    run = Operated(job, serve=True)
    with run.run:
        run.run.run(run._stop)
        assert run.run._epochs.number > 20
        assert 2 <= len(run.run.target.restore_points()) <= 4
        digest = run.run.digest()
    with LocalRun(plan_of(job), clock=ManualClock(1), serve=False) as again:
        assert again.digest() == digest
