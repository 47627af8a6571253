"""Built-in models against float64 references, and their gradients against finite differences."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from model.batch import Batch, FidColumn, Gradients, Inputs
from model.errors import BackwardBeforeForwardError, ModelOptionsError, UnknownModelError
from model.features import FeatureLayout, FidField
from model.models import build_model
from tests.model.references import Reference, example_batch, random_inputs

if TYPE_CHECKING:
    from model.model import Model
    from ps.arrays import F32

LAYOUTS = {
    "single": FeatureLayout((FidField("a", 1, "t"), FidField("b", 2, "t")), 2),
    "pooled": FeatureLayout(
        (FidField("a", 1, "t"), FidField("s", 2, "t", "sum"), FidField("m", 3, "t", "mean")), 1
    ),
    "two tables, a shared slot, no numbers": FeatureLayout(
        (FidField("a", 1, "t"), FidField("again", 1, "t", "mean"), FidField("b", 2, "other")), 0
    ),
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "logistic": ("logistic", {}),
    "fm": ("fm", {"dim": 3}),
    "deepfm": ("deepfm", {"dim": 3, "hidden": (5, 4)}),
    "dcn parallel": ("dcn", {"dim": 2, "hidden": (4,), "cross_layers": 2}),
    "dcn stacked": (
        "dcn",
        {"dim": 2, "hidden": (4, 3), "cross_layers": 2, "structure": "stacked"},
    ),
    "dcn low rank": ("dcn", {"dim": 2, "hidden": (4,), "cross_layers": 3, "rank": 2}),
}


def case(model: str, layout: str, size: int = 9) -> tuple[Model, Inputs, Reference]:
    rng = np.random.default_rng(7)
    kind, options = MODELS[model]
    built = build_model(kind, LAYOUTS[layout], options)
    batch = example_batch(rng, LAYOUTS[layout], size)
    inputs = random_inputs(rng, built, LAYOUTS[layout], batch)
    return built, inputs, Reference(kind, LAYOUTS[layout], inputs, options)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("model", MODELS)
def test_logits_are_those_of_the_reference(model: str, layout: str) -> None:
    built, inputs, reference = case(model, layout)
    expected = reference.logits(reference.parameters())
    logits = built.forward(inputs)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("model", MODELS)
def test_gradients_are_the_central_differences_of_the_reference(model: str, layout: str) -> None:
    built, inputs, reference = case(model, layout)
    size = inputs.batch.size
    dlogits = np.random.default_rng(8).normal(size=size).astype(np.float32)
    built.forward(inputs)
    gradients = built.backward(dlogits)
    found = flat(gradients)
    parameters = reference.parameters()
    assert found.keys() == parameters.keys()
    step = 1e-6
    for name, value in parameters.items():
        scale = 1.0 / size if name.startswith("dense/") else 1.0
        expected = np.empty_like(value)
        for at in np.ndindex(*value.shape):
            kept = value[at]
            value[at] = kept + step
            above = reference.logits(parameters)
            value[at] = kept - step
            below = reference.logits(parameters)
            value[at] = kept
            expected[at] = scale * (dlogits @ (above - below)) / (2 * step)
        assert found[name].dtype == np.float32
        assert found[name].flags.c_contiguous
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("model", MODELS)
def test_a_batch_of_one_is_a_row_of_a_batch_of_many(model: str, layout: str) -> None:
    built, inputs, _ = case(model, layout)
    together = built.forward(inputs)
    for i in range(inputs.batch.size):
        alone = built.forward(one_example(inputs, i))
        np.testing.assert_allclose(alone, together[i : i + 1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_the_same_batch_gives_the_same_bits(model: str) -> None:
    built, inputs, _ = case(model, "pooled", size=50)
    again, _, _ = case(model, "pooled")
    dlogits = np.linspace(-1, 1, 50, dtype=np.float32)
    first = built.forward(inputs), built.backward(dlogits)
    case_of_other_size = case(model, "pooled", size=3)[1]
    again.forward(case_of_other_size)
    second = again.forward(inputs), again.backward(dlogits)
    assert first[0].tobytes() == second[0].tobytes()
    for name, grad in flat(first[1]).items():
        assert grad.tobytes() == flat(second[1])[name].tobytes()


@pytest.mark.parametrize("model", MODELS)
def test_gradients_do_not_change_when_the_model_is_used_again(model: str) -> None:
    built, inputs, _ = case(model, "pooled")
    logits = built.forward(inputs)
    gradients = built.backward(np.ones(9, np.float32))
    kept = {n: g.copy() for n, g in flat(gradients).items()}
    kept_logits = logits.copy()
    built.forward(inputs)
    built.backward(np.full(9, -3, np.float32))
    np.testing.assert_array_equal(logits, kept_logits)
    for name, grad in flat(gradients).items():
        np.testing.assert_array_equal(grad, kept[name])


@pytest.mark.parametrize("model", MODELS)
def test_an_empty_batch_gives_nothing_and_gradients_of_zero(model: str) -> None:
    built, inputs, _ = case(model, "pooled", size=0)
    assert built.forward(inputs).shape == (0,)
    gradients = built.backward(np.zeros(0, np.float32))
    assert all(not g.any() for g in gradients.dense.values())


def test_counting_has_a_gradient_of_minus_one_for_every_occurrence() -> None:
    layout = LAYOUTS["pooled"]
    model = build_model("counting", layout)
    batch = example_batch(np.random.default_rng(3), layout, 20)
    inputs = random_inputs(np.random.default_rng(4), model, layout, batch)
    assert not model.forward(inputs).any()
    rows = model.backward(np.ones(20, np.float32)).rows["t"]
    everything = np.concatenate([c.fids for c in batch.columns.values()])
    for fid, grad in zip(inputs.lookups["t"].fids, rows, strict=True):
        assert grad.tolist() == [-float(np.count_nonzero(everything == fid))]


def test_backward_asks_for_a_forward_of_its_own() -> None:
    built, inputs, _ = case("fm", "single")
    with pytest.raises(BackwardBeforeForwardError):
        built.backward(np.zeros(9, np.float32))
    built.forward(inputs)
    built.backward(np.zeros(9, np.float32))
    with pytest.raises(BackwardBeforeForwardError):
        built.backward(np.zeros(9, np.float32))


@pytest.mark.parametrize("model", MODELS)
def test_leading_zeros_lie_within_a_row(model: str) -> None:
    built, _, _ = case(model, "single")
    assert 0 <= built.leading_zeros <= built.row_width


def test_unknown_kinds_and_options_are_named() -> None:
    layout = LAYOUTS["single"]
    with pytest.raises(UnknownModelError, match="no model 'gbdt'; there are logistic, fm"):
        build_model("gbdt", layout)
    with pytest.raises(ModelOptionsError, match=r"dims.*its options are: dim"):
        build_model("fm", layout, {"dims": 4})
    with pytest.raises(ModelOptionsError, match=r"dim: .*greater than 0.*found 0"):
        build_model("deepfm", layout, {"dim": 0})
    with pytest.raises(ModelOptionsError, match="at least one feature with fids"):
        build_model("fm", FeatureLayout((), 2), {})


def flat(gradients: Gradients) -> dict[str, F32]:
    rows = {f"rows/{table}": grad for table, grad in gradients.rows.items()}
    return rows | {f"dense/{name}": grad for name, grad in gradients.dense.items()}


def one_example(inputs: Inputs, i: int) -> Inputs:
    """Example i alone, reading the same rows."""
    lookups = dict(inputs.lookups)
    columns = {}
    for name, column in inputs.batch.columns.items():
        begin, end = i, i + 1
        if column.offsets is not None:
            begin, end = int(column.offsets[i]), int(column.offsets[i + 1])
        offsets = None if column.offsets is None else np.array([0, end - begin], np.int64)
        columns[name] = FidColumn(column.fids[begin:end], offsets)
        for table, lookup in lookups.items():
            if name in lookup.inverse:
                inverse = {**lookup.inverse, name: lookup.inverse[name][begin:end]}
                lookups[table] = replace(lookup, inverse=inverse)
    batch = Batch(1, columns, inputs.batch.dense[i : i + 1], inputs.batch.event_ts_us[i : i + 1])
    return Inputs(batch, lookups, inputs.rows, inputs.dense)
