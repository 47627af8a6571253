"""A torch module that is an FM with an MLP must be the built-in DeepFM in all but name."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np
import pytest

from model.errors import MissingExtraError, ModelOptionsError
from model.features import FeatureLayout, FidField
from model.torch_adapter import TorchModel
from tests.model.references import example_batch, random_inputs

LAYOUT = FeatureLayout(
    (FidField("a", 1, "t"), FidField("s", 2, "t", "sum"), FidField("m", 3, "t", "mean")), 2
)
HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="the extra torch is not installed")


def a_module(outputs: int = 1) -> Any:
    torch = importlib.import_module("torch")

    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.hidden = torch.nn.Linear(3 * 4 + 2, 5)
            self.top = torch.nn.Linear(5, outputs)
            self.unused = torch.nn.Parameter(torch.zeros(3))

        def forward(self, embeddings: dict[str, Any], dense: Any) -> Any:
            x = torch.cat([*embeddings.values(), dense], dim=1)
            return self.top(torch.tanh(self.hidden(x)))

    return Net()


@needs_torch
def test_gradients_are_central_differences_of_the_modules_logits() -> None:
    model = TorchModel(LAYOUT, 4, a_module(), init_scale=0.3)
    batch = example_batch(np.random.default_rng(1), LAYOUT, 6)
    inputs = random_inputs(np.random.default_rng(2), model, LAYOUT, batch)
    dlogits = np.random.default_rng(3).normal(size=6).astype(np.float32)
    assert model.forward(inputs).shape == (6,)
    gradients = model.backward(dlogits)
    assert not gradients.dense["unused"].any()
    step = np.float32(1e-2)
    for values, grads, scale in (
        (inputs.rows, gradients.rows, 1.0),
        (inputs.dense, gradients.dense, 1.0 / 6),
    ):
        for name, value in values.items():
            expected = np.empty(value.shape)
            for at in np.ndindex(*value.shape):
                kept = value[at]
                value[at] = kept + step
                above = model.forward(inputs).astype(np.float64)
                value[at] = kept - step
                below = model.forward(inputs).astype(np.float64)
                value[at] = kept
                expected[at] = scale * (dlogits @ (above - below)) / (2 * step)
            np.testing.assert_allclose(grads[name], expected, rtol=2e-2, atol=2e-3, err_msg=name)


@needs_torch
def test_parameters_are_the_dense_variables() -> None:
    shapes = TorchModel(LAYOUT, 4, a_module(), init_scale=0.3).dense_shapes()
    assert {name: s.shape for name, s in shapes.items()} == {
        "unused": (3,),
        "hidden.weight": (5, 14),
        "hidden.bias": (5,),
        "top.weight": (1, 5),
        "top.bias": (1,),
    }
    assert shapes["hidden.weight"].init_scale == 0.3
    assert shapes["hidden.bias"].init_scale is None


@needs_torch
def test_modules_that_cannot_be_held_are_refused() -> None:
    torch = importlib.import_module("torch")
    with pytest.raises(ModelOptionsError, match="buffers"):
        TorchModel(LAYOUT, 4, torch.nn.BatchNorm1d(3), init_scale=0.3)
    model = TorchModel(LAYOUT, 4, a_module(outputs=2), init_scale=0.3)
    batch = example_batch(np.random.default_rng(1), LAYOUT, 6)
    inputs = random_inputs(np.random.default_rng(2), model, LAYOUT, batch)
    with pytest.raises(ModelOptionsError, match=r"returned \(6, 2\)"):
        model.forward(inputs)


@pytest.mark.skipif(HAS_TORCH, reason="torch is installed")
def test_without_torch_the_error_says_what_to_install() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'trilith\[torch\]'"):
        TorchModel(LAYOUT, 4, None, init_scale=0.3)
