"""Going on from a store: as if the run had never been interrupted."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cluster.local import GoOnFrom, LocalRun
from ps.admission import AdmitAfter
from ps.clock import ManualClock
from ps.errors import IncompatibleModelError, NoRestorePointError, StoreInUseError
from tests.e2e.plans import Job, plan_of

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.progress import RunProgress
    from model.batch import Batch
    from ps.arrays import F32
    from worker.events import EventChunk

JOBS = {
    "logistic by example": Job(grain="example"),
    "logistic by example, rare fids, expiring": Job(
        grain="example", ttl_s=5, admission=AdmitAfter(3)
    ),
    "fm, expiring, rare fids": Job("fm", ttl_s=5, admission=AdmitAfter(2)),
    "fm, four shards, expiring, rare fids": Job("fm", shards=4, ttl_s=5, admission=AdmitAfter(2)),
    "deepfm": Job("deepfm"),
    "deepfm, four shards, three partitions": Job("deepfm", shards=4, partitions=3),
    "deepfm, two passes": Job("deepfm", passes=2, records=3_000, ttl_s=8),
    "counting, bad records": Job("counting", shards=2, malformed_share=0.05),
}


def run_for(
    job: Job, batches: int | None = None, go_on_from: GoOnFrom | None = None
) -> tuple[dict[str, Any], list[str]]:
    """What a run of so many batches (None: to the end) comes to, and what it said."""
    stop = threading.Event()
    seen = 0
    clock = ManualClock(1)
    said: list[str] = []

    def observe(chunk: EventChunk, batch: Batch, probabilities: F32) -> None:
        nonlocal seen
        seen += 1
        clock.advance_s(0.02)
        if seen == batches:
            stop.set()

    with LocalRun(
        plan_of(job),
        clock=clock,
        serve=False,
        on_batch=observe,
        go_on_from=go_on_from,
        say=said.append,
    ) as run:
        progress = run.run(stop)
        return result(run, progress), said


def result(run: LocalRun, progress: RunProgress) -> dict[str, Any]:
    return {
        "digest": run.digest(),
        "metrics": run.metrics.to_dict(),
        "examples": progress.examples,
        "rows": (progress.rows, progress.rows_admitted, progress.rows_expired),
        "quarantined": progress.quarantined,
        "event_ts_us": progress.event_ts_us,
        "dropped": progress.batches_dropped,
    }


@pytest.mark.parametrize("name", JOBS)
def test_a_run_resumed_many_times_is_one_that_never_stopped(name: str, tmp_path: Path) -> None:
    whole, _ = run_for(JOBS[name])
    job = replace(JOBS[name], store=tmp_path / "store")
    rng = np.random.default_rng(7)
    for attempt in range(4):
        _, said = run_for(job, int(rng.integers(1, 6)))
        assert any("resumed at epoch" in line for line in said) == (attempt > 0)
    found, said = run_for(job)
    assert found == whole
    # And once more, with nothing left to learn.
    again, said = run_for(job)
    assert again == whole
    assert "resumed at epoch" in said[-1]
    assert "6,000 examples" in said[-1] or whole["examples"] != 6_000


@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 1), (3, 2)])
def test_a_run_resumes_on_another_number_of_shards(before: int, after: int, tmp_path: Path) -> None:
    job = Job("counting", shards=before, store=tmp_path / "store", ttl_s=None)
    whole, _ = run_for(replace(job, store=None, shards=after))
    run_for(job, 7)
    found, said = run_for(replace(job, shards=after))
    assert found["digest"] == whole["digest"]
    assert found["metrics"] == whole["metrics"]
    assert any("resumed at epoch" in line for line in said)
    # It is restored on as many shards from now on.
    again, _ = run_for(replace(job, shards=after))
    assert again["digest"] == whole["digest"]
    back, _ = run_for(job)
    assert back["digest"] == run_for(replace(job, store=None))[0]["digest"]


def test_an_earlier_restore_point_may_be_gone_on_from(tmp_path: Path) -> None:
    job = Job("fm", shards=2, store=tmp_path / "store")
    whole, _ = run_for(replace(job, store=None))
    run_for(job, 12)
    with LocalRun(plan_of(job), clock=ManualClock(1), serve=False) as run:
        points = run.target.restore_points()
    assert len(points) > 5
    early = points[3]
    found, said = run_for(job, go_on_from=GoOnFrom(early.epoch))
    assert f"resumed at epoch {early.epoch}," in said[-1]
    assert found == whole
    with pytest.raises(NoRestorePointError, match="epoch 999"):
        run_for(job, go_on_from=GoOnFrom(999))


def test_a_store_may_be_anywhere() -> None:
    job = Job("fm", shards=2, store="memory://trilith-test-resume")
    whole, _ = run_for(replace(job, store=None))
    run_for(job, 5)
    found, said = run_for(job)
    assert found == whole
    assert "resumed at epoch" in said[-1]


def test_a_store_has_one_writer(tmp_path: Path) -> None:
    plan = plan_of(Job(store=tmp_path / "store"))
    with (
        LocalRun(plan, clock=ManualClock(1), serve=False),
        pytest.raises(StoreInUseError, match="test"),
    ):
        LocalRun(plan, clock=ManualClock(1), serve=False)
    LocalRun(plan, clock=ManualClock(1), serve=False).close()


def test_a_job_that_changed_is_told_how(tmp_path: Path) -> None:
    job = Job("logistic", store=tmp_path / "store")
    run_for(job, 3)
    other = replace(job, kind="fm")
    with pytest.raises(IncompatibleModelError) as refused:
        run_for(other)
    assert refused.value.differences
    assert any("table embedding: width is 5" in line for line in refused.value.differences)
    names = tuple(sorted({line.split(":")[0].split()[-1] for line in refused.value.differences}))
    found, _ = run_for(other, 3, go_on_from=GoOnFrom(reset=names))
    assert found["examples"] == 6 * 256
    assert run_for(other)[0]["examples"] == 6_000


def test_a_damaged_restore_point_is_passed_over(tmp_path: Path) -> None:
    job = Job("fm", shards=2, store=tmp_path / "store")
    whole, _ = run_for(replace(job, store=None))
    run_for(job, 12)
    newest = max((tmp_path / "store" / "blocks" / "shard-0001").iterdir())
    damaged = bytearray(newest.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    newest.write_bytes(damaged)
    found, said = run_for(job)
    assert any(newest.name in line for line in said)
    assert found == whole


def test_a_store_without_a_whole_restore_point_is_not_begun_afresh(tmp_path: Path) -> None:
    job = Job("fm", store=tmp_path / "store")
    run_for(job, 3)
    for file in (tmp_path / "store" / "commits").iterdir():
        file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(NoRestorePointError, match="read whole"):
        run_for(job)
