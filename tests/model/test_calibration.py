"""The correction for sampled negatives is He et al.'s formula."""

from __future__ import annotations

import numpy as np
import pytest

from model.calibration import NegativeSampling
from model.errors import ModelError
from model.loss import sigmoid


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5, 1.0])
def test_shifted_logits_give_the_formula_of_the_paper(rate: float) -> None:
    logits = np.linspace(-6, 6, 25, dtype=np.float32)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = p / (p + (1 - p) / rate)
    np.testing.assert_allclose(sigmoid(NegativeSampling(rate).logits(logits)), expected, rtol=1e-5)


@pytest.mark.parametrize("rate", [0.0, -1.0, 1.5, float("nan")])
def test_rates_outside_zero_to_one_are_refused(rate: float) -> None:
    with pytest.raises(ModelError, match="not in"):
        NegativeSampling(rate)
