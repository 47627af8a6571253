"""A multi-layer perceptron with ReLU, and the linear output on top of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from model.kernels.layers import bias_relu, relu_gradient
from model.model import DenseShape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from model.scratch import Scratch
    from ps.arrays import F32


class Mlp:
    """h_i = relu(h_{i-1} @ W_i + b_i). Variables: {name}.{i}.weight [in, out], {name}.{i}.bias.

    Weights are drawn with variance 2 / in (He et al. 2015). Without hidden layers it is identity.
    """

    def __init__(self, name: str, width: int, hidden: Sequence[int], scratch: Scratch) -> None:
        self._name = name
        self._widths = (width, *hidden)
        self._scratch = scratch
        self._outputs: list[F32] = []

    @property
    def out_width(self) -> int:
        """Columns of the output."""
        return self._widths[-1]

    def dense_shapes(self) -> dict[str, DenseShape]:
        """The variables, by name."""
        shapes: dict[str, DenseShape] = {}
        for i, (width, out) in enumerate(zip(self._widths, self._widths[1:], strict=False)):
            shapes[self._weight(i)] = DenseShape((width, out), math.sqrt(2.0 / width))
            shapes[self._bias(i)] = DenseShape((out,))
        return shapes

    def forward(self, x: F32, dense: Mapping[str, F32]) -> F32:
        """float32[n, out_width], scratch; x is kept for backward and must stay as it is."""
        self._outputs = [x]
        for i in range(len(self._widths) - 1):
            h = self._scratch.matrix(self._weight(i), len(x), self._widths[i + 1])
            np.matmul(self._outputs[-1], dense[self._weight(i)], out=h)
            bias_relu(h, dense[self._bias(i)])
            self._outputs.append(h)
        return self._outputs[-1]

    def backward(self, dh: F32, dense: Mapping[str, F32], grads: dict[str, F32]) -> F32:
        """The gradient by x, scratch; adds the variables' summed gradients to grads.

        dh: float32[n, out_width], by the output; overwritten.
        """
        for i in reversed(range(len(self._widths) - 1)):
            weight = dense[self._weight(i)]
            below = self._outputs[i]
            dbias = np.empty(weight.shape[1], np.float32)
            relu_gradient(self._outputs[i + 1], dh, dbias)
            grads[self._weight(i)] = below.T @ dh
            grads[self._bias(i)] = dbias
            dbelow = self._scratch.matrix(f"{self._name}.{i}.dx", *below.shape)
            dh = np.matmul(dh, weight.T, out=dbelow)
        return dh

    def _weight(self, i: int) -> str:
        return f"{self._name}.{i}.weight"

    def _bias(self, i: int) -> str:
        return f"{self._name}.{i}.bias"
