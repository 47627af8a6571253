"""Dense variables: where they start, what moves them, what a block says of them."""

from __future__ import annotations

import numpy as np
import pytest

from ps.dense import DenseSpec, DenseStore
from ps.errors import NonFiniteGradientError, ShapeError, SpecError
from ps.optimizers import AdaGrad, Adam, Sgd
from tests.ps.variable import Variable

SPECS = (
    DenseSpec("w", (3, 4), AdaGrad(), init_scale=0.5),
    DenseSpec("b", (4,), Sgd(learning_rate=1.0)),
    DenseSpec("scalar", (), Adam()),
)


def ones() -> dict[str, np.ndarray]:
    return {spec.name: np.ones(spec.shape, np.float32) for spec in SPECS}


def test_variables_start_by_seed_and_name_alone() -> None:
    first = DenseStore(SPECS, seed=7).values()
    other_order = DenseStore(reversed(SPECS), seed=7).values()
    assert all(np.array_equal(first[name], other_order[name]) for name in first)
    assert not np.array_equal(first["w"], DenseStore(SPECS, seed=8).values()["w"])
    renamed = DenseStore([DenseSpec("v", (3, 4), AdaGrad(), init_scale=0.5)], seed=7).values()
    assert not np.array_equal(first["w"], renamed["v"])
    assert np.abs(first["w"]).max() < 0.5
    assert len(np.unique(first["w"])) == 12
    assert not first["b"].any()


def test_values_have_their_shapes_and_belong_to_the_caller() -> None:
    store = DenseStore(SPECS, seed=7)
    values = store.values()
    assert {name: value.shape for name, value in values.items()} == {
        "w": (3, 4),
        "b": (4,),
        "scalar": (),
    }
    values["b"][:] = 9.0
    assert not store.values()["b"].any()


def test_a_variable_moves_as_a_row_of_its_size_would() -> None:
    store = DenseStore([DenseSpec("w", (2, 5), AdaGrad())], seed=1)
    row = Variable(AdaGrad(), 10)
    rng = np.random.default_rng(1)
    for _ in range(5):
        grads = rng.standard_normal((2, 5), dtype=np.float32)
        store.apply({"w": grads})
        row.apply(grads.reshape(-1).copy())
    assert store.values()["w"].tobytes() == row.weights.tobytes()


def test_a_transposed_gradient_is_read_by_its_meaning() -> None:
    left, right = (DenseStore([DenseSpec("w", (2, 3), Sgd(1.0))], seed=1) for _ in range(2))
    grads = np.arange(6, dtype=np.float32).reshape(3, 2).T
    left.apply({"w": grads})
    right.apply({"w": grads.copy()})
    assert np.array_equal(left.values()["w"], right.values()["w"])


def test_a_seal_names_what_moved_since_the_last() -> None:
    store = DenseStore(SPECS, seed=7)
    assert list(store.seal()) == ["w", "b", "scalar"]  # where they start
    assert store.seal() == {}
    store.apply({"b": np.ones(4, np.float32)})
    assert list(store.seal()) == ["b"]
    assert store.seal() == {}
    assert list(store.export()) == ["w", "b", "scalar"]


def test_an_export_leaves_what_moved_to_the_next_seal() -> None:
    store = DenseStore(SPECS, seed=7)
    store.seal()
    store.apply({"b": np.ones(4, np.float32)})
    store.export()
    assert list(store.seal()) == ["b"]


def test_a_restored_store_goes_on_like_the_one_it_came_from() -> None:
    left, right = DenseStore(SPECS, seed=7), DenseStore(SPECS, seed=8)
    left.apply(ones())
    right.restore(left.export())
    assert right.seal() == {}
    for store in (left, right):
        store.apply(ones())
    for name, delta in left.export().items():
        assert delta.weights.tobytes() == right.export()[name].weights.tobytes()
        assert delta.state.tobytes() == right.export()[name].state.tobytes()


@pytest.mark.parametrize(
    ("grads", "error", "says"),
    [
        ({"x": np.ones(4, np.float32)}, ShapeError, "no dense variable 'x'"),
        ({"b": np.ones(5, np.float32)}, ShapeError, r"\[4\]"),
        ({"b": np.ones(4, np.float64)}, ShapeError, "float64"),
        ({"b": np.array([0, np.nan, 0, 0], np.float32)}, NonFiniteGradientError, "'b'"),
        ({"b": np.array([0, -np.inf, 0, 0], np.float32)}, NonFiniteGradientError, "'b'"),
        ({"b": np.array([0, 1.1e15, 0, 0], np.float32)}, NonFiniteGradientError, "1e.15"),
    ],
)
def test_unusable_gradients_are_refused(
    grads: dict[str, np.ndarray], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        DenseStore(SPECS, seed=7).check(grads)


def test_restoring_another_shape_or_optimizer_changes_nothing() -> None:
    store = DenseStore(SPECS, seed=7)
    before = store.values()
    for spec in (DenseSpec("b", (5,), Sgd()), DenseSpec("b", (4,), AdaGrad())):
        other = DenseStore([DenseSpec("w", (3, 4), AdaGrad()), spec], seed=1)
        with pytest.raises(ShapeError, match="'b'"):
            store.restore(other.export())
    assert np.array_equal(store.values()["w"], before["w"])


def test_impossible_specs_are_refused() -> None:
    with pytest.raises(SpecError, match="name"):
        DenseSpec("", (1,), Sgd())
    with pytest.raises(SpecError, match="extent"):
        DenseSpec("w", (2, 0), Sgd())
    with pytest.raises(SpecError, match="scale"):
        DenseSpec("w", (2,), Sgd(), init_scale=-1.0)
    with pytest.raises(SpecError, match="rename"):
        DenseStore([SPECS[0], SPECS[0]], seed=1)
