"""Training and serving in one process: what replicas answer is what the trainer would."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from cluster.local import LocalRun
from model.batch import Batch, Inputs
from model.lookup import build_lookups
from model.loss import sigmoid
from ps.admission import AdmitAfter
from ps.client import RoutingClient
from ps.clock import ManualClock, SystemClock
from serving.client import PredictClient
from serving.predictor import Predictor
from serving.query import Query
from tests.e2e.plans import FEATURES, Job, plan_of

if TYPE_CHECKING:
    from cluster.plan import Plan
    from ps.arrays import F32
    from serving.requests import FeatureValue
    from worker.events import EventChunk

RAW = [*FEATURES.columns]
JOBS = {
    "logistic by example": Job(grain="example", ttl_s=5, admission=AdmitAfter(2)),
    "fm, three shards": Job("fm", shards=3, ttl_s=5),
    "fm, admission": Job("fm", shards=2, ttl_s=5, admission=AdmitAfter(3)),
    "deepfm": Job("deepfm", ttl_s=5),
    "deepfm, three shards": Job("deepfm", shards=3),
}


def rows_of(plan: Plan, begin: int, count: int) -> pa.RecordBatch:
    """Raw columns out of the plan's stream, as a request would carry them."""
    for chunk in plan.source.read("synthetic-0", begin):
        return chunk.columns.select(RAW).slice(0, count)
    raise AssertionError("the stream ends before these rows")


def unseen(columns: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows of users and items that nobody has seen."""
    arrays: list[Any] = [
        pa.array(np.arange(len(columns)) + (1 << 45), pa.int64())
        if name in ("user_id", "item_id")
        else columns.column(name)
        for name in RAW
    ]
    return pa.RecordBatch.from_arrays(arrays, names=RAW)


def trainers_probabilities(run: LocalRun, plan: Plan, columns: pa.RecordBatch, now_us: int) -> F32:
    """The forward pass of training, on what the shards hold now."""
    event_ts_us = np.full(columns.num_rows, now_us, dtype=np.int64)
    extracted = FEATURES.extract(columns, event_ts_us)
    assert not extracted.reasons
    batch = Batch(extracted.size, extracted.columns, extracted.dense, event_ts_us)
    lookups = build_lookups(FEATURES.tables, batch)
    client = RoutingClient(run._learning.shards)
    rows = client.pull({table: lookup.fids for table, lookup in lookups.items()})
    return sigmoid(plan.make_model().forward(Inputs(batch, lookups, rows, client.pull_dense())))


@pytest.mark.parametrize("name", JOBS)
def test_replicas_answer_what_the_trainer_would(name: str) -> None:
    """At several moments of a run, for what was learned, what has expired and what is new."""
    plan, clock = plan_of(JOBS[name]), ManualClock(1)
    compared = 0
    with LocalRun(plan, clock=clock, serve=True, on_batch=lambda *_: compare()) as run:
        [serving] = run._publishing.serving
        for shard in run._learning.shards:
            # Where a replica starts; it may not ask for it while a batch is learned from.
            serving.replica.apply(shard.export(sealed_us=0))
        predictor = Predictor(FEATURES, plan.make_model, serving.replica, clock)
        batches = 0

        def compare() -> None:
            nonlocal batches, compared
            batches += 1
            clock.advance_s(1)
            if batches % 6:
                return
            # Between two batches, with blocks as they are sealed and applied.
            for shard in run._learning.shards:
                run._publishing.log.append(shard.seal(clock.now_us()))
            serving.follower.catch_up()
            for columns in (rows_of(plan, 0, 60), rows_of(plan, 100 * batches, 60)):
                for asked in (columns, unseen(columns)):
                    now_us = 1_700_000_000_000_000 + batches
                    expected = trainers_probabilities(run, plan, asked, now_us)
                    nothing = pa.RecordBatch.from_arrays([pa.nulls(1)], names=["\0"])
                    found = predictor.predict(Query(asked, nothing, now_us))
                    np.testing.assert_allclose(found.probabilities, expected, rtol=0, atol=1e-6)
                    compared += 1

        progress = run.run()
    assert compared >= 12
    assert progress.examples == 6_000
    assert (progress.rows_expired > 0) == (JOBS[name].ttl_s is not None)


def test_two_replicas_answer_over_grpc_while_training_goes_on() -> None:
    plan = plan_of(Job("fm", shards=2, records=None, replicas=2))
    stop, learned = threading.Event(), threading.Event()
    batches = 0

    def observe(chunk: EventChunk, batch: Batch, probabilities: F32) -> None:
        nonlocal batches
        batches += 1
        if batches == 20:
            learned.set()

    errors: list[BaseException] = []
    with LocalRun(plan, clock=SystemClock(), serve=True, on_batch=observe) as run:
        run.start_servers()

        def train() -> None:
            try:
                run.run(stop)
            except BaseException as error:  # noqa: BLE001  # told by the assertion below
                errors.append(error)

        thread = threading.Thread(target=train)
        thread.start()
        try:
            assert len(set(run.addresses)) == 2
            assert learned.wait(120)
            for serving in run._publishing.serving:
                assert serving.replica.wait_ready(60)
            candidates: list[dict[str, FeatureValue]] = [
                {"item_id": item, "item_price": 2.5} for item in range(20)
            ]
            user: dict[str, FeatureValue] = {
                "user_id": 3,
                "user_segment": 1,
                "user_age": 31.0,
                "user_interests": [4, 5],
            }
            for address in run.addresses:
                with PredictClient(address, timeout_s=30.0) as client:
                    epochs = set()
                    for _ in range(10):
                        answer = client.predict(user, candidates)
                        assert answer.probabilities.shape == (20,)
                        assert np.isfinite(answer.probabilities).all()
                        assert 0.0 <= answer.staleness_s < 60.0
                        assert [shard.shard for shard in answer.version.shards] == [0, 1]
                        epochs.add(answer.version.shards[0].epoch)
                    assert min(epochs) >= 1
        finally:
            stop.set()
            thread.join(60)
        assert not thread.is_alive()
        assert errors == []
        progress = run.progress()
        assert progress.staleness_p99_s is not None
        assert 0.0 <= progress.staleness_p99_s < 60.0
        assert run.progress().examples >= 20 * 256


def test_after_the_run_it_goes_on_answering_until_it_is_stopped() -> None:
    plan = plan_of(Job(records=2_000))
    stop = threading.Event()
    with LocalRun(plan, clock=SystemClock(), serve=True) as run:
        run.start_servers()
        thread = threading.Thread(target=run.run, args=(stop,), kwargs={"hold": True})
        thread.start()
        try:
            [serving] = run._publishing.serving
            assert serving.replica.wait_ready(60)
            with PredictClient(run.addresses[0], timeout_s=30.0) as client:
                while (
                    client.predict({"user_age": 30.0}, [{"item_id": 1}]).version.shards[0].epoch < 4
                ):
                    assert thread.is_alive()
        finally:
            stop.set()
            thread.join(60)
        assert not thread.is_alive()
        assert run.progress().examples == 2_000
