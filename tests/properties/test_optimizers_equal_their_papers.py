"""Every optimizer against an independent float64 reference, over random settings and gradients."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.initializers import Initializer
from ps.optimizers import (
    AdaGrad,
    Adam,
    FtrlProximal,
    GroupLassoFtrl,
    Momentum,
    Optimizer,
    RowwiseAdaGrad,
    Sgd,
)
from tests.ps.optimizer_reference import reference
from tests.ps.variable import Variable


def numbers(least: float, most: float) -> st.SearchStrategy[float]:
    return st.floats(least, most, width=32)


rates = numbers(2.0**-10, 1.0)
penalties = st.just(0.0) | numbers(2.0**-10, 2.0)
optimizers: st.SearchStrategy[Optimizer] = st.one_of(
    st.builds(Sgd, rates),
    st.builds(Momentum, rates, numbers(0.0, 0.9375), st.booleans()),
    st.builds(AdaGrad, rates, numbers(0.0, 1.0), numbers(2.0**-30, 0.5)),
    st.builds(RowwiseAdaGrad, rates, numbers(0.0, 1.0), numbers(2.0**-30, 0.5)),
    st.builds(Adam, rates, st.floats(0.0, 0.99), st.floats(0.0, 0.9999), numbers(2.0**-30, 0.5)),
    st.builds(FtrlProximal, rates, numbers(0.125, 2.0), penalties, penalties),
    st.builds(GroupLassoFtrl, rates, numbers(0.125, 2.0), penalties, penalties, penalties),
)


@given(
    spec=optimizers,
    width=st.integers(1, 20),
    steps=st.integers(1, 30),
    seed=st.integers(0, 2**32 - 1),
    zeros=st.sampled_from([0.0, 0.5]),
    size=st.sampled_from([1e-3, 1.0, 30.0]),
)
@settings(max_examples=300, deadline=None)
def test_the_kernel_follows_the_paper(
    spec: Optimizer, width: int, steps: int, seed: int, zeros: float, size: float
) -> None:
    rng = np.random.default_rng(seed)
    row = Variable(spec, width, Initializer("uniform", 0.5), seed=seed)
    step = reference(spec, row.weights.astype(np.float64))
    moved = 1.0
    for _ in range(steps):
        grads = (size * rng.standard_normal(width)).astype(np.float32)
        grads[rng.random(width) < zeros] = 0.0
        expected = step(grads.astype(np.float64))
        row.apply(grads)
        # float32 errs relative to the largest number that went into the sum.
        moved = max(moved, float(np.abs(expected).max()), size)
        np.testing.assert_allclose(row.weights, expected, rtol=2e-4, atol=2e-5 * moved)
