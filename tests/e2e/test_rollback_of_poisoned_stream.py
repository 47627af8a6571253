"""Bad data gets into the stream, an operator takes the model back and leaves it out."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from cluster.local import LocalRun
from ps.clock import SystemClock
from serving.client import PredictClient
from tests.e2e.plans import FEATURES, TABLE, Job, plan_of
from worker.sources.synthetic import ClickStreamSpec, SyntheticClicks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ps.arrays import F32
    from worker.events import EventChunk

ROOT = Path(__file__).parents[2]
POISONED = (12_000, 20_000)
END = 32_000
_DEADLINE_S = 120.0
_PS_ADMIN = "from ps.admin.cli import main; main()"


@dataclass
class Poisoned:
    """A stream whose labels are turned round for a while, as if a logger had a sign wrong.

    It ends at `end`, which may be moved: the stream goes on.
    """

    end: int
    poisoned: tuple[int, int] = POISONED
    inner: SyntheticClicks = field(
        default_factory=lambda: SyntheticClicks(
            ClickStreamSpec(records=END, records_per_s=100.0, users=400, items=200), chunk_rows=500
        )
    )

    def partitions(self) -> Sequence[str]:
        return self.inner.partitions()

    def read(self, partition: str, begin: int) -> Iterator[EventChunk]:
        for chunk in self.inner.read(partition, begin):
            if chunk.span.begin >= self.end:
                return
            yield self._turned(chunk)

    def _turned(self, chunk: EventChunk) -> EventChunk:
        begin, end = self.poisoned
        here = (chunk.offsets >= begin) & (chunk.offsets < end)
        at = chunk.columns.schema.get_field_index("click")
        clicks = chunk.columns.column(at).to_numpy(zero_copy_only=False).astype(np.int64)
        turned = pa.array(np.where(here, 1 - clicks, clicks)).cast(chunk.columns.schema.types[at])
        return replace(chunk, columns=chunk.columns.set_column(at, "click", turned))


def ps_admin(target: str, *arguments: str) -> Any:
    """What the command prints with --json."""
    done = subprocess.run(
        [sys.executable, "-c", _PS_ADMIN, *arguments, "--target", target, "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


def window_auc(run: LocalRun, begin: int, end: int) -> float:
    """The mean AUC of the windows of a range of the stream: a hundred records are a second."""
    windows = run.metrics.windows()
    first_us = windows[0].begin_us
    chosen = [
        window.metrics.auc
        for window in windows
        if begin * 10_000 <= window.begin_us - first_us < end * 10_000
        and window.metrics.examples > 300
    ]
    return float(np.mean([auc for auc in chosen if auc is not None]))


def test_poison_is_rolled_back_and_the_metric_recovers(tmp_path: Path) -> None:
    source = Poisoned(end=POISONED[1])
    job = Job(
        "fm", shards=2, replicas=2, source=source, store=tmp_path / "store", admin=True,
        commit_every_s=0.05,
    )  # fmt: skip
    stop = threading.Event()
    with LocalRun(plan_of(job), clock=SystemClock(), serve=True) as run:
        run.start_servers()
        assert run.admin_address is not None
        thread = threading.Thread(target=run.run, args=(stop,), kwargs={"hold": True})
        thread.start()
        try:
            wait_until(lambda: run.target.status().state == "finished", thread)
            good = window_auc(run, 4_000, POISONED[0])
            bad = window_auc(run, *POISONED)
            assert good > 0.6
            assert bad < good - 0.1
            asked = [run.addresses, run.admin_address]
            before = answers(run.addresses)

            source.end = END  # the stream has gone on meanwhile, in order again
            report = roll_back(run.admin_address)
            assert report["to_epoch"] < report["from_epoch"] < report["epoch"]
            wait_until(lambda: run.progress().event_ts_us >= ends_at(source), thread)
            wait_until(lambda: run.target.status().state == "finished", thread)
            recovered = window_auc(run, POISONED[1] + 2_000, END)
            assert recovered > good - 0.03
            assert asked == [run.addresses, run.admin_address]

            clean = clean_run(job)
            assert run.digest() == clean.digest()
            assert run.metrics.to_dict() == clean.metrics.to_dict()
            wait_until(lambda: all_at(run, run._epochs.number), thread)
            for serving in run._publishing.serving:
                for shard in clean._learning.shards:
                    rows = shard.table(TABLE).export()
                    found = serving.replica.read({TABLE: rows.fids.copy()})
                    assert found.rows[TABLE].tobytes() == rows.weights.tobytes()
                    assert found.unknown == {TABLE: 0}
                assert serving.follower.status().bases_read == job.shards
            after = answers(run.addresses)
            assert not np.allclose(before, after, atol=1e-3)
        finally:
            stop.set()
            thread.join(_DEADLINE_S)
        assert not thread.is_alive()


def roll_back(target: str) -> Any:
    """Look for the newest restore point before the poison, and go back to it, as an operator would."""
    listed = ps_admin(target, "list")
    epoch = max(
        point["epoch"]
        for point in listed["restore_points"]
        if point["positions"].get("synthetic-0", 0) <= POISONED[0]
    )
    skip = f"synthetic-0:{POISONED[0]}-{POISONED[1]}"
    dry = ps_admin(target, "rollback", str(epoch), "--skip", skip, "--dry-run")
    assert dry["dry_run"]
    return ps_admin(target, "rollback", str(epoch), "--skip", skip, "--yes")


def clean_run(job: Job) -> LocalRun:
    """A run over the same stream that never saw the poison."""
    plan = plan_of(replace(job, source=Poisoned(end=END), store=None, admin=False))
    run = LocalRun(plan, clock=SystemClock(), serve=False)
    run._learning.skips = {"synthetic-0": (POISONED,)}
    with run:
        run.run()
    return run


def ends_at(source: Poisoned) -> int:
    """The event time of the last record."""
    [last] = list(source.inner.read("synthetic-0", END - 500))
    return int(np.asarray(last.columns.column("event_ts_us").to_numpy()).max())


def all_at(run: LocalRun, epoch: int) -> bool:
    cursors = [
        serving.replica.cursor(shard)
        for serving in run._publishing.serving
        for shard in range(serving.replica.shards)
    ]
    return all(cursor is not None and cursor.epoch >= epoch for cursor in cursors)


def answers(addresses: Sequence[str]) -> F32:
    """What the replicas say of a user and some items."""
    user = {"user_id": 3, "user_segment": 1, "user_age": 31.0, "user_interests": [4, 5]}
    items = [{"item_id": item, "item_price": 2.5} for item in range(20)]
    assert set(user) < set(FEATURES.columns)
    said = []
    for address in addresses:
        with PredictClient(address, timeout_s=60.0) as client:
            said.append(client.predict(user, items).probabilities)  # type: ignore[arg-type]
    return np.array(said)


def wait_until(true: Callable[[], bool], thread: threading.Thread) -> None:
    pause = threading.Event()
    for _ in range(int(_DEADLINE_S / 0.02)):
        if true():
            return
        assert thread.is_alive()
        pause.wait(0.02)
    raise AssertionError("it did not come to that in time")
