"""The process that is killed: it trains a job to its end, if it is let, and says what came of it."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cluster.job import load_job, resolve
from cluster.local import LocalRun
from cluster.warmup import warm_up
from ps.clock import SystemClock
from tests.faults.marks import Mark, die_before

if TYPE_CHECKING:
    from cluster.plan import Plan
    from ps.admin.target import RestorePoint
    from ps.store.commit import Skips

POINTS_BEFORE_OPERATING = 3
# A batch waits so often, a millisecond each, for the next request of an operator who is not done:
# streams are small.
LONGEST_WAIT = 50
# Positions of the first partition, from where a rollback goes back to, that it leaves out.
SKIPPED = 160
PARTITION = "part-0.jsonl"


def train(
    job_file: str,
    outcome_file: str,
    crash_at: tuple[Mark, int] | None = None,
    operation: str | None = None,
) -> None:
    """Train; write the outcome once the run is whole. crash_at: die before that step, the n-th time.

    operation: rollback, reshard or snapshot, done once in the middle of the run.
    """
    if crash_at is not None:
        die_before(*crash_at)
    plan = resolve(load_job(Path(job_file)))
    learning, operated = threading.Event(), threading.Event()

    def on_batch(*_: object) -> None:
        learning.set()
        _wait_for_request(run, operated)

    with LocalRun(plan, clock=SystemClock(), serve=False, on_batch=on_batch) as run:
        if operation is None:
            operated.set()
        else:
            operator = threading.Thread(target=_operate, args=(run, operation, learning, operated))
            operator.daemon = True
            operator.start()
        run.run()
        outcome = outcome_of(run)
    Path(outcome_file).write_text(json.dumps(outcome))


def outcome_of(run: LocalRun) -> dict[str, Any]:
    """Everything that must be as if nothing had happened."""
    progress = run.progress()
    counts: dict[str, float] = {}
    for shard in run._learning.shards:
        for spec in shard.spec.tables:
            rows = shard.table(spec.name).export()
            for fid, weight in zip(rows.fids.tolist(), rows.weights[:, 0].tolist(), strict=True):
                counts[str(fid)] = counts.get(str(fid), 0.0) + weight
    return {
        "digest": run.digest(),
        "counts": counts,
        "examples": progress.examples,
        "rows_admitted": progress.rows_admitted,
        "auc": progress.auc,
        "log_loss": progress.log_loss,
        "windows": [
            [window.begin_us, window.closed, window.metrics.to_dict()]
            for window in run.metrics.windows()
        ],
        "groups": {
            value: summary.to_dict() for value, summary in run.metrics.groups("user").items()
        },
    }


def prepare(plan: Plan) -> None:
    """Compile, or load what was compiled, before the first process is forked off."""
    warm_up(plan)


def _wait_for_request(run: LocalRun, operated: threading.Event) -> None:
    """Let the operator, unless he is done, ask for something that this thread then carries out."""
    for _ in range(LONGEST_WAIT):
        if run._control._waiting or operated.wait(0.001):
            return


def _operate(
    run: LocalRun, operation: str, learning: threading.Event, operated: threading.Event
) -> None:
    """Have an operator do something in the middle of the run, from a thread of his own."""
    learning.wait()
    try:
        _do(run, operation)
    finally:
        operated.set()


def _do(run: LocalRun, operation: str) -> None:
    points: list[RestorePoint] = []
    while len(points) < POINTS_BEFORE_OPERATING:
        points.append(run.target.create_snapshot(f"on-the-way-{len(points)}"))
    if operation == "rollback":
        begin = points[0].positions.get(PARTITION, 0)
        skips: Skips = {PARTITION: ((begin, begin + SKIPPED),)}
        run.target.rollback(points[0].epoch, skips, dry_run=False)
    elif operation == "reshard":
        run.target.reshard(3, dry_run=False)
    elif operation == "snapshot":
        run.target.create_snapshot("wanted")


def equal_counts(counts: dict[str, float], expected: dict[int, int]) -> bool:
    """Whether each weight is the number of its fid's occurrences."""
    found = {int(fid): weight for fid, weight in counts.items()}
    return found.keys() == expected.keys() and bool(
        np.array_equal([found[fid] for fid in expected], list(expected.values()))
    )
