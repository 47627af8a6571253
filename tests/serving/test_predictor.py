"""The predictor: the trainer's own probabilities, and what it says of values it cannot use."""

from __future__ import annotations

import threading

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.batch import Batch, Inputs
from model.lookup import build_lookups
from model.loss import sigmoid
from serving.errors import NotReadyError, ServingError
from serving.query import QueryRules, read_query
from serving.requests import named_request, packed_request
from tests.serving.world import (
    NOW_US,
    SPEC,
    TABLE,
    World,
    block,
    make_model,
    make_world,
    trainers_table,
)

WORLD = make_world()
TRAINERS_TABLE = trainers_table()

_user = st.fixed_dictionaries(
    {
        "user_id": st.integers(0, 60),
        "country": st.sampled_from(["SE", "DE", "", None]),
        "age": st.one_of(st.none(), st.floats(0, 100)),
        "position": st.integers(0, 9),
    }
)
_item = st.fixed_dictionaries(
    {
        "item_id": st.one_of(st.none(), st.integers(0, 60)),
        "tags": st.lists(st.sampled_from("abc"), max_size=3),
        "title": st.sampled_from(["red shoes", "blue", "", None]),
        "price": st.one_of(st.none(), st.floats(0.01, 1e6)),
    }
)


def _as_the_trainer_would(user: dict[str, object], items: list[dict[str, object]]) -> np.ndarray:
    """Plain rows, each with all columns, through the training's path."""
    rows = [user | item for item in items]
    types = {
        "user_id": pa.int64(),
        "country": pa.string(),
        "item_id": pa.int64(),
        "tags": pa.list_(pa.string()),
        "title": pa.string(),
        "price": pa.float64(),
        "age": pa.float64(),
        "position": pa.int64(),
    }
    arrays = [pa.array([row.get(name) for row in rows], kind) for name, kind in types.items()]
    columns = pa.RecordBatch.from_arrays(arrays, names=list(types))
    event_ts_us = np.full(len(rows), NOW_US, dtype=np.int64)
    extracted = SPEC.extract(columns, event_ts_us)
    assert not extracted.reasons
    batch = Batch(extracted.size, extracted.columns, extracted.dense, event_ts_us)
    lookups = build_lookups(SPEC.tables, batch)
    pulled = {TABLE: TRAINERS_TABLE.pull(lookups[TABLE].fids)}
    dense = {name: delta.weights for name, delta in block(1).dense.items()}
    return sigmoid(make_model().forward(Inputs(batch, lookups, pulled, dense)))


@settings(deadline=None, max_examples=50)
@given(user=_user, items=st.lists(_item, min_size=1, max_size=8))
def test_probabilities_equal_the_trainers_forward_pass(
    user: dict[str, object], items: list[dict[str, object]]
) -> None:
    expected = _as_the_trainer_would(user, items)
    columns = {name: [item[name] for item in items] for name in items[0]}
    rules = QueryRules(WORLD.predictor.fields, 100)
    for request in (
        named_request(user, items),  # type: ignore[arg-type]
        packed_request(user, columns),  # type: ignore[arg-type]
    ):
        prediction = WORLD.predictor.predict(read_query(request, rules, NOW_US))
        np.testing.assert_allclose(prediction.probabilities, expected, rtol=0, atol=1e-6)


def _predict(world: World, **item: object) -> np.ndarray:
    request = named_request({"position": 1}, [item])  # type: ignore[list-item]
    query = read_query(request, QueryRules(world.predictor.fields, 100), NOW_US)
    return world.predictor.predict(query).probabilities


def test_nothing_is_predicted_before_the_replica_is_ready() -> None:
    with pytest.raises(NotReadyError):
        _predict(make_world(ready=False), item_id=1)


def test_a_model_that_gives_no_finite_number_is_an_error() -> None:
    world = make_world()
    world.replica.apply(block(2, scale=float("inf")))
    with pytest.raises(ServingError, match="not finite"), np.errstate(all="ignore"):
        _predict(world, item_id=1)


def test_threads_that_predict_at_once_get_what_one_would() -> None:
    expected = [_predict(WORLD, item_id=i) for i in range(20)]
    wrong: list[int] = []

    def predict_all() -> None:
        found = [_predict(WORLD, item_id=i) for i in range(20)]
        wrong.extend(i for i in range(20) if not np.array_equal(found[i], expected[i]))

    threads = [threading.Thread(target=predict_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong
