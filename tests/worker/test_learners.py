"""Learning from one batch: what is applied, what is dropped whole, what is a repeat."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from model.batch import Batch, FidColumn, Gradients
from model.features import Categorical, FeatureLayout, FeatureSpec, FidField
from model.loss import sigmoid
from model.models.counting import Counting
from ps.client import RoutingClient
from ps.dense import DenseSpec
from ps.errors import TableFullError
from ps.optimizers import Sgd
from ps.shard import Shard, ShardSpec
from ps.stream import Span
from ps.table import TableSpec
from tests.worker.learning import FEATURES, TABLE, chunk, make_model, make_shard, prepared
from worker.errors import WorkerError
from worker.learners import BatchLearner, ExampleLearner

if TYPE_CHECKING:
    from model.batch import Inputs
    from model.features import Pooling
    from ps.arrays import F32
    from ps.messages import LogisticExamples
    from worker.learners import Learner

BATCH = prepared(chunk(0, 40))[0].batch
NEXT = prepared(chunk(40, 80))[0].batch


class Broken(Counting):
    """A counting model that goes wrong as it is told, from its second batch on."""

    def __init__(self, what: str) -> None:
        super().__init__(FEATURES.layout)
        self.what = what
        self.batches = 0

    def forward(self, inputs: Inputs) -> F32:
        self.batches += 1
        logits = super().forward(inputs)
        if self.batches > 1 and self.what in ("nan logit", "inf logit"):
            logits[-1] = np.nan if self.what == "nan logit" else np.inf
        return logits

    def backward(self, dlogits: F32) -> Gradients:
        gradients = super().backward(dlogits)
        if self.batches > 1:
            gradients.rows[TABLE][3] = {"nan": np.nan, "inf": -np.inf}.get(self.what, 1e20)
        return gradients


def counting_shards(number: int) -> list[Shard]:
    table = TableSpec(TABLE, 1, Sgd(1.0), capacity_rows=500)
    return [Shard(ShardSpec("m", (table,), shard=i)) for i in range(number)]


@pytest.mark.parametrize("what", ["nan logit", "inf logit", "nan", "inf", "too large"])
@pytest.mark.parametrize("number", [1, 3])
def test_a_batch_that_is_not_finite_is_dropped_whole(what: str, number: int) -> None:
    shards = counting_shards(number)
    learner = BatchLearner(Broken(what), FEATURES.layout, RoutingClient(shards))
    first = learner.learn(BATCH, 0)
    assert first.dropped is None
    rows = [shard.table(TABLE).export() for shard in shards]
    second = learner.learn(NEXT, 0)
    assert second.probabilities is None
    assert second.dropped is not None
    assert "finite" in second.dropped
    for shard, before in zip(shards, rows, strict=True):
        assert shard.positions() == {"p": 80}
        after = shard.table(TABLE).export()
        for name in ("fids", "weights", "state", "last_seen_s"):
            assert getattr(after, name).tobytes() == getattr(before, name).tobytes()
    # Once more: by now it is behind the shards, and no loss to report.
    again = learner.learn(NEXT, 0)
    assert (again.probabilities, again.dropped) == (None, None)


def learners() -> list[tuple[Learner, Shard]]:
    batch_shard, example_shard = make_shard(), make_shard()
    return [
        (BatchLearner(make_model(), FEATURES.layout, RoutingClient([batch_shard])), batch_shard),
        (ExampleLearner(FEATURES.layout, example_shard), example_shard),
    ]


@pytest.mark.parametrize("number", [0, 1], ids=["batch", "example"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_dense_inputs_that_cannot_be_learned_from_drop_the_batch(number: int, value: float) -> None:
    learner, shard = learners()[number]
    learner.learn(BATCH, 0)
    weights = shard.table(TABLE).export().weights
    dense = shard.pull_dense()["linear"]
    bad = NEXT.dense.copy()
    bad[5] = value
    learned = learner.learn(replace(NEXT, dense=bad), 0)
    assert learned.probabilities is None
    assert learned.dropped is not None
    assert shard.positions() == {"p": 80}
    np.testing.assert_array_equal(shard.table(TABLE).export().weights, weights)
    np.testing.assert_array_equal(shard.pull_dense()["linear"], dense)
    again = learner.learn(replace(NEXT, dense=bad), 0)
    assert (again.probabilities, again.dropped) == (None, None)
    after = prepared(chunk(80, 90))[0].batch
    assert learner.learn(after, 0).probabilities is not None


@pytest.mark.parametrize("number", [0, 1], ids=["batch", "example"])
def test_a_batch_without_examples_moves_the_position(number: int) -> None:
    learner, shard = learners()[number]
    empty = prepared(replace(chunk(0, 40), offsets=np.arange(0), columns=chunk(0, 0).columns))
    learned = learner.learn(empty[0].batch, 0)
    assert learned.probabilities is not None
    assert learned.probabilities.size == 0
    assert shard.positions() == {"p": 40}
    assert len(shard.table(TABLE)) == 0


@pytest.mark.parametrize("number", [0, 1], ids=["batch", "example"])
def test_a_repeat_teaches_nothing(number: int) -> None:
    learner, shard = learners()[number]
    assert learner.learn(BATCH, 0).probabilities is not None
    before = shard.digest()
    again = learner.learn(BATCH, 0)
    assert (again.probabilities, again.dropped) == (None, None)
    assert shard.digest() == before


@pytest.mark.parametrize("number", [0, 1], ids=["batch", "example"])
def test_predictions_are_from_before_learning(number: int) -> None:
    learner, _ = learners()[number]
    learned = learner.learn(prepared(chunk(0, 1))[0].batch, 0)
    assert learned.probabilities is not None
    assert learned.probabilities.tolist() == [0.5]


def test_examples_in_batches_of_one_are_the_batch_learner() -> None:
    """Both take the same step where an example is a batch of its own and no fid comes twice in it."""
    (by_batch, left), (by_example, right) = learners()
    for offset in range(120):
        one = prepared(chunk(offset, offset + 1))[0].batch
        tags = one.columns["tags"]
        unique = np.unique(tags.fids)
        columns = {**one.columns, "tags": FidColumn(unique, np.array([0, len(unique)]))}
        one = replace(one, columns=columns)
        first, second = by_batch.learn(one, 0), by_example.learn(one, 0)
        assert first.probabilities is not None
        assert second.probabilities is not None
        np.testing.assert_allclose(first.probabilities, second.probabilities, atol=1e-6)
    fids = left.table(TABLE).export().fids.copy()
    rows = [shard.table(TABLE).pull(fids) for shard in (left, right)]
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


def test_what_a_shard_refuses_is_raised() -> None:
    shard = make_shard(capacity_rows=3)
    for learner in (
        BatchLearner(make_model(), FEATURES.layout, RoutingClient([shard])),
        ExampleLearner(FEATURES.layout, shard),
    ):
        with pytest.raises(TableFullError):
            learner.learn(BATCH, 0)
    assert len(shard.table(TABLE)) == 0
    assert shard.positions() == {}


def test_learning_by_example_asks_for_one_table() -> None:
    spec = FeatureSpec((Categorical("a", "a", 1, table="x"), Categorical("b", "b", 2, table="y")))
    shard = Shard(ShardSpec("m", (), (DenseSpec("linear", (1,), Sgd(1.0)),)))
    with pytest.raises(WorkerError, match="grain: batch"):
        ExampleLearner(spec.layout, shard)


@pytest.mark.parametrize("batch", [replace(BATCH, span=None), replace(BATCH, labels=None)])
def test_a_batch_to_predict_is_nothing_to_learn_from(batch: Batch) -> None:
    for learner, _ in learners():
        with pytest.raises(WorkerError, match="assemble it from a stream"):
            learner.learn(batch, 0)


def test_fm_predicts_what_its_forward_pass_says() -> None:
    from model.batch import Inputs
    from model.lookup import build_lookups

    shard, model = make_shard("fm"), make_model("fm")
    lookups = build_lookups(FEATURES.layout.tables, BATCH)
    rows = shard.pull({TABLE: lookups[TABLE].fids})
    expected = sigmoid(model.forward(Inputs(BATCH, lookups, rows, shard.pull_dense())))
    learned = BatchLearner(make_model("fm"), FEATURES.layout, RoutingClient([shard])).learn(
        BATCH, 0
    )
    assert learned.probabilities is not None
    assert learned.probabilities.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("pooling", "second_slot", "distinct"),
    [(None, 2, True), ("sum", 2, False), (None, 1, False)],
)
def test_the_shard_is_told_whether_an_examples_fids_must_differ(
    monkeypatch: pytest.MonkeyPatch, pooling: Pooling | None, second_slot: int, distinct: bool
) -> None:
    """What it is told decides whether learning takes the faster path; the bits are the same."""
    fields = (FidField("a", 1, "t"), FidField("b", second_slot, "t", pooling))
    shard = Shard(ShardSpec("m", (TableSpec("t", 1, Sgd(1.0)),)))
    told: list[LogisticExamples] = []
    monkeypatch.setattr(shard, "learn_logistic", told.append)
    offsets = None if pooling is None else np.arange(3)
    batch = Batch(
        size=2,
        columns={
            "a": FidColumn(np.array([1, 2], np.uint64)),
            "b": FidColumn(np.array([3, 4], np.uint64), offsets),
        },
        dense=np.empty((2, 0), np.float32),
        event_ts_us=np.zeros(2, np.int64),
        labels=np.zeros(2, np.float32),
        span=Span("p", 0, 2),
    )
    ExampleLearner(FeatureLayout(fields), shard).learn(batch, generation=0)
    assert [examples.distinct for examples in told] == [distinct]
