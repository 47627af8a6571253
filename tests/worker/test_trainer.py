"""The trainer: every record is accounted for once, whatever becomes of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ps.client import RoutingClient
from ps.errors import TableFullError
from tests.worker.learning import FEATURES, chunk, make_model, make_shard, prepared
from worker.errors import MetricsError
from worker.events import EventChunk, Rejected
from worker.learners import BatchLearner, ExampleLearner
from worker.metrics.progressive import MetricsSpec, ProgressiveMetrics
from worker.quarantine import Quarantine
from worker.trainer import Trainer

if TYPE_CHECKING:
    from pathlib import Path

    from model.batch import Batch
    from ps.arrays import F32
    from ps.shard import Shard

HUGE = 1e20  # finite, and beyond what any gradient may be


def trainer_of(
    shard: Shard,
    *,
    by_example: bool = False,
    spec: MetricsSpec | None = None,
    quarantine: Quarantine | None = None,
) -> Trainer:
    learner = (
        ExampleLearner(FEATURES.layout, shard)
        if by_example
        else BatchLearner(make_model(), FEATURES.layout, RoutingClient([shard]))
    )
    return Trainer(learner, ProgressiveMetrics(spec), quarantine or Quarantine())


def with_rejected(good: EventChunk, *offsets: int) -> EventChunk:
    keep = ~np.isin(good.offsets, offsets)
    rejected = [Rejected("p", offset, "torn", "x") for offset in offsets]
    rows = np.flatnonzero(keep)
    return EventChunk(good.span, good.offsets[keep], good.columns.take(rows), rejected)


@pytest.mark.parametrize("by_example", [False, True])
def test_every_example_is_judged_before_it_is_learned(by_example: bool) -> None:
    trainer = trainer_of(make_shard(), by_example=by_example)
    whole = prepared(chunk(0, 50), chunk(50, 90))
    assert [trainer.learn(one) for one in whole] == [50, 40]
    assert trainer.examples == 90
    total = trainer.metrics.totals()
    assert total.examples == 90
    assert total.log_loss is not None
    labels = np.concatenate([one.batch.labels for one in whole if one.batch.labels is not None])
    assert total.positives == labels.sum()


@pytest.mark.parametrize("by_example", [False, True])
def test_a_repeat_is_not_counted_again(by_example: bool) -> None:
    trainer = trainer_of(make_shard(), by_example=by_example)
    torn = prepared(with_rejected(chunk(0, 50), 7, 9))[0]
    assert trainer.learn(torn) == 48
    before = trainer.metrics.to_dict()
    assert trainer.learn(torn) == 0
    assert trainer.metrics.to_dict() == before
    assert trainer.examples == 48
    assert trainer.quarantine.records == 2


@pytest.mark.parametrize("by_example", [False, True])
def test_a_batch_that_is_not_finite_is_counted_and_reported(
    by_example: bool, tmp_path: Path
) -> None:
    shard = make_shard()
    dead = tmp_path / "dead.jsonl"
    trainer = trainer_of(shard, by_example=by_example, quarantine=Quarantine(dead))
    good, bad, later = prepared(chunk(0, 50), chunk(50, 60, age=HUGE), chunk(60, 99))
    assert trainer.learn(good) == 50
    weights = shard.table("embedding").export().weights
    for _ in range(2):
        assert trainer.learn(bad) == 0
    np.testing.assert_array_equal(shard.table("embedding").export().weights, weights)
    assert trainer.learn(later) == 39
    assert trainer.batches_dropped == 1
    assert trainer.examples == trainer.metrics.totals().examples == 89
    assert shard.positions() == {"p": 99}
    line = json.loads(dead.read_text())
    assert (line["partition"], line["begin"], line["end"]) == ("p", 50, 60)
    assert "finite" in line["reason"]
    assert trainer.quarantine.dropped_positions == 10


@pytest.mark.parametrize("by_example", [False, True])
def test_a_batch_of_rejected_records_only(by_example: bool) -> None:
    shard = make_shard()
    trainer = trainer_of(shard, by_example=by_example)
    assert trainer.learn(prepared(with_rejected(chunk(0, 5), 0, 1, 2, 3, 4))[0]) == 0
    assert shard.positions() == {"p": 5}
    assert trainer.quarantine.records == 5
    assert trainer.metrics.totals().examples == 0
    assert trainer.batches_dropped == 0


def test_what_the_shards_refuse_counts_for_nothing() -> None:
    trainer = trainer_of(make_shard(capacity_rows=2))
    with pytest.raises(TableFullError):
        trainer.learn(prepared(with_rejected(chunk(0, 50), 7))[0])
    assert trainer.examples == trainer.metrics.totals().examples == trainer.quarantine.records == 0


def test_metrics_by_a_column_of_the_stream() -> None:
    trainer = trainer_of(make_shard(), spec=MetricsSpec(group_by=("user",)))
    torn = prepared(with_rejected(chunk(0, 80), 3, 4))[0]
    trainer.learn(torn)
    groups = trainer.metrics.groups("user")
    users = torn.chunk.columns.column("user").to_pylist()
    assert {name: m.examples for name, m in groups.items()} == {
        str(user): users.count(user) for user in set(users)
    }


def test_metrics_by_a_column_that_is_not_there() -> None:
    trainer = trainer_of(make_shard(), spec=MetricsSpec(group_by=("nowhere",)))
    with pytest.raises((MetricsError, KeyError)):
        trainer.learn(prepared(chunk(0, 8))[0])


def test_an_observer_sees_what_was_learned_and_the_predictions_before() -> None:
    seen: list[tuple[EventChunk, Batch, F32]] = []
    shard = make_shard()
    trainer = Trainer(
        ExampleLearner(FEATURES.layout, shard),
        ProgressiveMetrics(),
        Quarantine(),
        on_batch=lambda *one: seen.append(one),
    )
    good, bad = prepared(chunk(0, 9), chunk(9, 12, age=HUGE))
    for one in (good, good, bad):
        trainer.learn(one)
    assert len(seen) == 1
    assert seen[0][0] is good.chunk
    assert seen[0][1] is good.batch
    assert seen[0][2].shape == (9,)


def test_a_newer_generation_is_stated_to_the_shards() -> None:
    from ps.errors import StaleGenerationError

    shard = make_shard()
    newer, older = (
        Trainer(
            ExampleLearner(FEATURES.layout, shard), ProgressiveMetrics(), Quarantine(), generation=g
        )
        for g in (3, 2)
    )
    first, second = prepared(chunk(0, 9), chunk(9, 12))
    newer.learn(first)
    with pytest.raises(StaleGenerationError):
        older.learn(second)
    assert newer.learn(replace(second)) == 3
