"""Optimizer specs, and the laws their update kernels keep."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ps.errors import SpecError
from ps.initializers import Initializer
from ps.optimizers import (
    HYPER_WIDTH,
    OPTIMIZERS,
    AdaGrad,
    Adam,
    FtrlProximal,
    GroupLassoFtrl,
    Momentum,
    Optimizer,
    RowwiseAdaGrad,
    Sgd,
    optimizer_from_mapping,
)
from tests.ps.variable import Variable

ALL = [kind() for kind in OPTIMIZERS.values()]
every_optimizer = pytest.mark.parametrize("spec", ALL, ids=[spec.name for spec in ALL])
SMALL = Initializer("uniform", 0.5)


def gradients(seed: int, steps: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((steps, width), dtype=np.float32)


@every_optimizer
def test_the_state_is_as_wide_as_the_spec_says_and_all_of_it_is_initialised(
    spec: Optimizer,
) -> None:
    for width in (1, 7, 8, 16, 33):
        row = Variable(spec, width, SMALL)
        assert np.isfinite(row.state).all()
        for grads in gradients(1, 3, width):
            row.apply(grads)
        assert np.isfinite(row.weights).all()
        assert np.isfinite(row.state).all()
        assert np.isnan(row.beyond).all()


def test_state_widths() -> None:
    assert {spec.name: spec.state_width(16) for spec in ALL} == {
        "adagrad": 16,
        "adam": 33,
        "ftrl": 32,
        "group_lasso_ftrl": 32,
        "momentum": 16,
        "rowwise_adagrad": 1,
        "sgd": 0,
    }


@every_optimizer
def test_the_same_gradients_give_the_same_bits(spec: Optimizer) -> None:
    rows = [Variable(spec, 19, SMALL), Variable(spec, 19, SMALL)]
    for grads in gradients(2, 20, 19):
        for row in rows:
            row.apply(grads)
    assert rows[0].words.tobytes() == rows[1].words.tobytes()


@pytest.mark.parametrize(
    "spec",
    [AdaGrad(), Adam(), FtrlProximal(l1=0.1, l2=0.1), Momentum(nesterov=True), Sgd()],
    ids=lambda spec: spec.name,
)
def test_a_coordinate_does_not_depend_on_its_neighbours(spec: Optimizer) -> None:
    """Vectorised or not, first or last in the row: the same bits."""
    width = 19
    wide = Variable(spec, width)
    alone = [Variable(spec, 1) for _ in range(width)]
    for grads in gradients(3, 20, width):
        wide.apply(grads)
        for i, row in enumerate(alone):
            row.apply(grads[i : i + 1].copy())
    assert wide.weights.tobytes() == b"".join(row.weights.tobytes() for row in alone)


@pytest.mark.parametrize("spec", [Sgd(), AdaGrad(), RowwiseAdaGrad()], ids=lambda spec: spec.name)
def test_a_zero_gradient_changes_nothing(spec: Optimizer) -> None:
    row = Variable(spec, 16, SMALL)
    row.apply(gradients(4, 1, 16)[0])
    before = row.words.tobytes()
    row.apply(np.zeros(16, np.float32))
    assert row.words.tobytes() == before


@pytest.mark.parametrize("spec", [Adam(), Momentum(), Momentum(nesterov=True)], ids=repr)
def test_a_zero_gradient_moves_no_row_that_is_at_rest(spec: Optimizer) -> None:
    row = Variable(spec, 16, SMALL)
    before = row.weights.copy()
    row.apply(np.zeros(16, np.float32))
    assert np.array_equal(row.weights, before)


@pytest.mark.parametrize("spec", [FtrlProximal(), GroupLassoFtrl()], ids=lambda spec: spec.name)
def test_ftrl_without_penalties_stays_where_it_starts_until_a_gradient_comes(
    spec: Optimizer,
) -> None:
    row = Variable(spec, 16, SMALL)
    before = row.weights.copy()
    row.apply(np.zeros(16, np.float32))
    np.testing.assert_allclose(row.weights, before, rtol=1e-6)


def test_sgd_with_rate_1_counts_exactly() -> None:
    row = Variable(Sgd(learning_rate=1.0), 2)
    for _ in range(1000):
        row.apply(np.array([-1.0, -2.0], np.float32))
    assert row.weights.tolist() == [1000.0, 2000.0]


def test_ftrl_is_exactly_zero_until_the_gradients_add_up_to_more_than_l1() -> None:
    row = Variable(FtrlProximal(l1=1.0), 1)
    for _ in range(8):
        row.apply(np.array([0.125], np.float32))
        assert row.weights.tobytes() == np.float32(0).tobytes()
    row.apply(np.array([0.125], np.float32))
    assert row.weights[0] < 0.0


def test_more_l1_leaves_fewer_weights() -> None:
    left = []
    for l1 in (0.0, 1.0, 3.0, 100.0):
        row = Variable(FtrlProximal(l1=l1), 200)
        for grads in gradients(5, 10, 200):
            row.apply(grads)
        left.append(int(np.count_nonzero(row.weights)))
    assert left == sorted(left, reverse=True)
    assert left[0] == 200
    assert 0 < left[1] < 200
    assert left[3] == 0


def test_the_group_lasso_takes_a_row_whole_or_leaves_it() -> None:
    whole, gone = (
        Variable(GroupLassoFtrl(group_l21=strength), 16, SMALL) for strength in (0.1, 100.0)
    )
    for grads in gradients(6, 3, 16):
        whole.apply(grads)
        gone.apply(grads)
    assert np.count_nonzero(whole.weights) == 16
    assert gone.weights.tobytes() == bytes(64)


def test_the_group_lasso_of_strength_0_is_plain_ftrl() -> None:
    group = Variable(GroupLassoFtrl(l1=0.5, l2=0.2), 16, SMALL)
    plain = Variable(FtrlProximal(l1=0.5, l2=0.2), 16, SMALL)
    for grads in gradients(7, 20, 16):
        group.apply(grads)
        plain.apply(grads)
    np.testing.assert_allclose(group.weights, plain.weights, rtol=1e-6)


def test_rowwise_adagrad_of_one_column_is_adagrad() -> None:
    rowwise, plain = Variable(RowwiseAdaGrad(), 1, SMALL), Variable(AdaGrad(), 1, SMALL)
    for grads in gradients(8, 20, 1):
        rowwise.apply(grads)
        plain.apply(grads)
    assert rowwise.weights.tobytes() == plain.weights.tobytes()


def test_adams_first_step_is_the_learning_rate_whenever_the_row_begins() -> None:
    row = Variable(Adam(learning_rate=0.25), 3)
    row.apply(np.array([1e-3, -7.0, 1e6], np.float32))
    np.testing.assert_allclose(row.weights, [-0.25, 0.25, -0.25], rtol=1e-4)


def test_adam_keeps_counting_where_float32_cannot() -> None:
    row = Variable(Adam(), 1)
    row.state[2] = 2.0**24
    row.apply(np.ones(1, np.float32))
    assert row.state[2] == 2.0**24
    assert np.isfinite(row.weights).all()


EXTREMES = np.array(
    [0.0, 1e-45, -1e-45, 1e-38, -1e-38, 1e-30, 1e-22, 1e-10, 1.0, -1.0, 1e10, 1e15, -1e15],
    np.float32,
)
STIFF: list[Optimizer] = [
    Sgd(1e6),
    Sgd(1e-9),
    Momentum(1e6, 1.0 - 1e-7, nesterov=True),
    AdaGrad(1e6, 0.0, 1e-10),
    AdaGrad(1e6, 1e-20, 0.0),
    AdaGrad(1e-9, 1e15, 0.0),
    RowwiseAdaGrad(1e6, 0.0, 1e-10),
    Adam(1e6, 0.0, 0.0, 1e-10),
    Adam(1e6, 1.0 - 1e-7, 1.0 - 1e-7, 1e-10),
    FtrlProximal(1e6, 1e-10),
    FtrlProximal(1e-9, 1e6),
    FtrlProximal(1e-9, 1e-10, 1e15, 1e15),
    GroupLassoFtrl(1e6, 1e-10),
    GroupLassoFtrl(1e-9, 1e6, 0.0, 0.0, 1e15),
]


@pytest.mark.parametrize("spec", [*ALL, *STIFF], ids=repr)
def test_no_legal_gradient_makes_a_nan(spec: Optimizer) -> None:
    width = len(EXTREMES)
    for seed in range(20):
        row = Variable(spec, width, SMALL)
        rng = np.random.default_rng(seed)
        for _ in range(40):
            row.apply(rng.choice(EXTREMES, width))
            assert np.isfinite(row.weights).all(), f"seed {seed}"
            assert np.isfinite(row.state).all(), f"seed {seed}"


@pytest.mark.parametrize("spec", [AdaGrad(), RowwiseAdaGrad(), FtrlProximal()], ids=repr)
def test_a_full_accumulator_stops_learning_but_makes_no_nan(spec: Optimizer) -> None:
    row = Variable(spec, 1)
    row.state[-1] = np.finfo(np.float32).max
    row.apply(np.full(1, 1e15, np.float32))
    row.apply(np.ones(1, np.float32))
    assert np.isfinite(row.words[:-8]).all()


@every_optimizer
def test_the_learning_rate_can_be_overridden(spec: Optimizer) -> None:
    slower = spec.with_learning_rate(0.125)
    assert type(slower) is type(spec)
    assert slower.hyper()[0] == np.float32(0.125)
    assert np.array_equal(slower.hyper()[1:], spec.hyper()[1:])
    with pytest.raises(SpecError):
        spec.with_learning_rate(0.0)


@every_optimizer
def test_a_spec_packs_its_hyperparameters_and_compares_by_value(spec: Optimizer) -> None:
    assert spec.hyper().dtype == np.float32
    assert spec.hyper().shape == (HYPER_WIDTH,)
    assert spec == type(spec)()
    assert hash(spec) == hash(type(spec)())


def test_kinds_are_distinct() -> None:
    assert len({spec.kind for spec in ALL}) == len(ALL)


@pytest.mark.parametrize(
    ("kind", "settings", "names"),
    [
        (Sgd, {"learning_rate": -1.0}, "learning_rate"),
        (Sgd, {"learning_rate": math.nan}, "learning_rate"),
        (Sgd, {"learning_rate": math.inf}, "learning_rate"),
        (Momentum, {"momentum": 1.0}, "momentum"),
        (AdaGrad, {"initial_accumulator": 0.0, "epsilon": 0.0}, "epsilon"),
        (AdaGrad, {"initial_accumulator": -1.0}, "initial_accumulator"),
        (RowwiseAdaGrad, {"epsilon": math.nan}, "epsilon"),
        (Adam, {"beta2": 1.0}, "beta2"),
        (Adam, {"epsilon": 0.0}, "epsilon"),
        (FtrlProximal, {"alpha": 0.0}, "alpha"),
        (FtrlProximal, {"beta": 0.0}, "beta"),
        (FtrlProximal, {"l1": -0.1}, "l1"),
        (GroupLassoFtrl, {"group_l21": math.inf}, "group_l21"),
    ],
)
def test_impossible_settings_are_refused_by_name(
    kind: type[Optimizer], settings: dict[str, float], names: str
) -> None:
    with pytest.raises(SpecError, match=names):
        kind(**settings)


def test_a_job_file_names_an_optimizer() -> None:
    found = optimizer_from_mapping({"kind": "ftrl", "alpha": 0.1, "l1": 2})
    assert found == FtrlProximal(alpha=0.1, l1=2.0)
    assert optimizer_from_mapping({"kind": "momentum", "nesterov": True}) == Momentum(nesterov=True)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "set it to one of adagrad, adam, ftrl"),
        ({"kind": "adam_w"}, "'adam_w'"),
        ({"kind": ["sgd"]}, "one of"),
        ({"kind": "sgd", "lr": 0.1}, "it takes learning_rate"),
        ({"kind": "sgd", "learning_rate": "fast"}, "a number"),
        ({"kind": "sgd", "learning_rate": True}, "a number"),
        ({"kind": "momentum", "nesterov": 1}, "true or false"),
        ({"kind": "sgd", "learning_rate": 0}, "learning_rate is 0.0"),
    ],
)
def test_a_job_file_that_asks_for_the_impossible_is_told_what_to_change(
    settings: dict[str, object], says: str
) -> None:
    with pytest.raises(SpecError, match=says):
        optimizer_from_mapping(settings)
