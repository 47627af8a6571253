"""A whole job in one process: how it begins, ends, stops, fails, and what it says meanwhile."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from cluster.local import LocalRun
from ps.clock import ManualClock, SystemClock
from tests.e2e.plans import COUNTED, TABLE, Job, plan_of
from worker.errors import SourceError
from worker.rate import RecentRate
from worker.sources.synthetic import ClickStreamSpec, SyntheticClicks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cluster.plan import Plan
    from cluster.progress import RunProgress
    from model.batch import Batch
    from ps.arrays import F32
    from ps.stream import Span
    from worker.events import EventChunk, Source


def finished(job: Job) -> tuple[LocalRun, RunProgress]:
    run = LocalRun(plan_of(job), clock=ManualClock(), serve=False)
    with run:
        return run, run.run()


JOBS = {
    "logistic by example": Job(grain="example"),
    "logistic in batches, three shards": Job(shards=3),
    "fm": Job("fm"),
    "fm, three shards, expiring": Job("fm", shards=3, ttl_s=5),
    "deepfm": Job("deepfm"),
    "deepfm, three shards": Job("deepfm", shards=3),
}


@pytest.mark.parametrize("name", JOBS)
def test_the_same_stream_gives_the_same_bytes(name: str) -> None:
    """Whatever the wall clock does, and whether anybody reads the blocks."""
    first, progress = finished(JOBS[name])
    second = LocalRun(plan_of(JOBS[name]), clock=SystemClock(), serve=False)
    with second:
        again = second.run()
    assert first.digest() == second.digest()
    assert first.metrics.to_dict() == second.metrics.to_dict()
    assert progress.examples == again.examples == 6_000
    other, _ = finished(Job(**{**JOBS[name].__dict__, "batch_size": 255, "records": 5_990}))
    assert other.digest() != first.digest()


def counted(plan: Plan) -> Counter[int]:
    """How often each fid occurs in the plan's stream, by the features alone."""
    counts: Counter[int] = Counter()
    for partition in plan.source.partitions():
        for chunk in plan.source.read(partition, 0):
            assembled = plan.examples.assemble(chunk.columns, chunk.offsets, chunk.span)
            for column in assembled.batch.columns.values():
                counts.update(column.fids.tolist())
    return counts


def weights(run: LocalRun) -> dict[int, float]:
    found: dict[int, float] = {}
    for shard in run._learning.shards:
        rows = shard.table(TABLE).export()
        found.update(zip(rows.fids.tolist(), rows.weights[:, 0].tolist(), strict=True))
    return found


@pytest.mark.parametrize("shards", [1, 4])
def test_each_weight_is_the_number_of_occurrences(shards: int) -> None:
    job = Job("counting", shards=shards, malformed_share=0.03)
    run, progress = finished(job)
    plan = plan_of(job)
    assert plan.examples.features is COUNTED
    expected = counted(plan)
    assert weights(run) == expected
    assert progress.rows == len(expected)
    assert progress.examples + sum(progress.quarantined.values()) == 6_000
    # The stream once more, from its beginning: all of it is behind the shards.
    before = run.digest()
    again = run.run()
    assert weights(run) == expected
    assert run.digest() == before
    assert again.examples == progress.examples


def test_every_pass_counts() -> None:
    job = Job("counting", passes=3, records=1_000)
    run, progress = finished(job)
    once = counted(plan_of(job))
    assert weights(run) == {fid: 3 * count for fid, count in once.items()}
    assert progress.examples == 3_000


@pytest.mark.parametrize("max_examples", [1, 500, 513, 10_000])
def test_max_examples_bounds_the_positions(max_examples: int) -> None:
    _, progress = finished(Job(max_examples=max_examples))
    assert progress.examples == min(max_examples, 6_000)


def test_quarantined_records_are_counted_and_written(tmp_path: object) -> None:
    from pathlib import Path

    dead = Path(str(tmp_path)) / "dead.jsonl"
    _, progress = finished(Job(malformed_share=0.05, quarantine=dead))
    assert progress.quarantined == {"malformed on purpose": 6_000 - progress.examples}
    assert 200 < 6_000 - progress.examples < 400
    assert len(dead.read_text().splitlines()) == 6_000 - progress.examples


def test_a_stop_ends_the_run_after_the_batch_at_hand() -> None:
    stop = threading.Event()
    batches: list[int] = []

    def observe(chunk: EventChunk, batch: Batch, probabilities: F32) -> None:
        batches.append(batch.size)
        if len(batches) == 5:
            stop.set()

    plan = plan_of(Job(records=None, passes=1_000))
    with LocalRun(plan, clock=ManualClock(), serve=False, on_batch=observe) as run:
        progress = run.run(stop)
    assert batches == [256] * 5
    assert progress.examples == 5 * 256
    assert progress.finished


def test_a_stop_that_came_before_learns_nothing() -> None:
    stop = threading.Event()
    stop.set()
    with LocalRun(plan_of(Job(records=None, passes=9)), clock=ManualClock(), serve=False) as run:
        assert run.run(stop, hold=True).examples == 0


@dataclass
class Torn:
    """A source that breaks off."""

    source: Source
    at: int

    def partitions(self) -> Sequence[str]:
        return self.source.partitions()

    def read(self, partition: str, begin: int) -> Iterator[EventChunk]:
        for chunk in self.source.read(partition, begin):
            if chunk.span.end > self.at:
                raise SourceError(partition, chunk.span.begin, "the disk is gone")
            yield chunk


def test_what_came_before_an_error_is_learned_and_published() -> None:
    whole = SyntheticClicks(ClickStreamSpec(records=6_000), chunk_rows=100)
    plan = plan_of(Job(source=Torn(whole, 3_000)))
    run = LocalRun(plan, clock=SystemClock(), serve=True)
    try:
        run.start_servers()
        with pytest.raises(SourceError, match="the disk is gone"):
            run.run()
        assert run.progress().examples == 3_000
        [serving] = run._publishing.serving
        assert serving.replica.wait_ready(20)
        caught_up(run)
        rows = run._learning.shards[0].table(TABLE).export()
        found = serving.replica.read({TABLE: rows.fids.copy()})
        assert found.rows[TABLE].tobytes() == rows.weights.tobytes()
        assert found.unknown == {TABLE: 0}
    finally:
        run.close()
        run.close()


def caught_up(run: LocalRun) -> None:
    """The replicas by hand, their threads ended: no need to wait for them."""
    for serving in run._publishing.serving:
        assert serving.follower.stop()
        serving.follower._stopping = False
        serving.follower.catch_up()


def test_closing_a_run_that_never_ran() -> None:
    run = LocalRun(plan_of(Job()), clock=SystemClock(), serve=True)
    run.close()
    run.close()


def test_a_replica_that_fell_behind_starts_over_from_a_base() -> None:
    plan = plan_of(Job(shards=2))
    with LocalRun(plan, clock=ManualClock(), serve=True) as run:
        [serving] = run._publishing.serving
        run._epochs.seal()
        serving.follower.catch_up()
        run._publishing.log._max_blocks = 2
        for _ in range(3):
            run._epochs.seal()
        run.run()
        for _ in range(3):
            run._epochs.seal()
        before = serving.follower.status().bases_read
        serving.follower.catch_up()
        assert serving.follower.status().bases_read > before
        for number, shard in enumerate(run._learning.shards):
            cursor = serving.replica.cursor(number)
            assert cursor is not None
            assert cursor.epoch == shard.stats().epoch
            rows = shard.table(TABLE).export()
            found = serving.replica.read({TABLE: rows.fids.copy()})
            assert found.rows[TABLE].tobytes() == rows.weights.tobytes()


def test_progress_is_told_while_it_goes_on() -> None:
    told: list[RunProgress] = []
    clock = ManualClock()

    def observe(chunk: EventChunk, batch: Batch, probabilities: F32) -> None:
        clock.advance_s(0.25)

    plan = plan_of(Job(ttl_s=5))
    with LocalRun(plan, clock=clock, serve=False, on_progress=told.append, on_batch=observe) as run:
        last = run.run()
    assert len(told) > 5
    assert told[-1] == last
    assert [one.finished for one in told] == [False] * (len(told) - 1) + [True]
    assert all(a.examples <= b.examples for a, b in itertools.pairwise(told))
    assert last.examples == 6_000
    assert last.examples_per_s == pytest.approx(256 / 0.25, rel=0.2)
    assert last.rows == last.rows_admitted - last.rows_expired
    assert last.rows_expired > 0
    assert last.auc is not None
    assert last.window_auc is not None
    assert last.staleness_p99_s is None


def test_a_rate_is_of_the_last_seconds() -> None:
    rate = RecentRate()
    rates = []
    for count, now_s in ((1_000, 0.0), (10, 1.0), (30, 2.0), (0, 2.0), (5, 100.0), (5, 102.5)):
        rate.add(count, now_s)
        rates.append(rate.per_s)
    assert RecentRate().per_s is None
    assert rates == [None, 10.0, 20.0, 20.0, None, 2.0]


def test_a_rate_as_a_plain_sum() -> None:
    rate = RecentRate()
    added: list[tuple[float, int]] = []
    for step in range(200):
        now_s = step * 0.37
        rate.add(step, now_s)
        added.append((now_s, step))
        window = [one for one in added if now_s - one[0] <= 5.0]
        if len(window) > 1:
            expected = sum(n for _, n in window[1:]) / (now_s - window[0][0])
            assert rate.per_s == pytest.approx(expected)


def test_observers_see_every_position_once() -> None:
    spans: list[Span] = []

    def observe(chunk: EventChunk, batch: Batch, probabilities: F32) -> None:
        assert batch.size == probabilities.size == chunk.columns.num_rows
        spans.append(chunk.span)

    plan = plan_of(Job(partitions=3, malformed_share=0.1))
    with LocalRun(plan, clock=ManualClock(), serve=False, on_batch=observe) as run:
        run.run()
    for partition in plan.source.partitions():
        own = sorted((s.begin, s.end) for s in spans if s.partition == partition)
        assert own[0][0] == 0
        assert own[-1][1] == 2_000
        assert all(a[1] == b[0] for a, b in itertools.pairwise(own))
