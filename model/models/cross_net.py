"""The cross layers of DCN-v2, with full or low-rank matrices (Wang et al. 2021, eq. 1 and 2)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from model.kernels.layers import cross, cross_gradient
from model.model import DenseShape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model.scratch import Scratch
    from ps.arrays import F32


class CrossNet:
    """x_{i+1} = x_0 * (x_i @ W_i + b_i) + x_i, with W_i = V_i @ U_i where a rank is given.

    Variables: {name}.{i}.weight [D, D], or {name}.{i}.v [D, rank] and {name}.{i}.u [rank, D];
    {name}.{i}.bias [D].
    """

    def __init__(
        self, name: str, width: int, layers: int, rank: int | None, scratch: Scratch
    ) -> None:
        self._name = name
        self._width = width
        self._layers = layers
        self._rank = rank
        self._scratch = scratch
        self._inputs: list[F32] = []

    def dense_shapes(self) -> dict[str, DenseShape]:
        """The variables, by name; products keep the variance of what they multiply."""
        shapes: dict[str, DenseShape] = {}
        width, rank = self._width, self._rank
        for i in range(self._layers):
            if rank is None:
                shapes[self._variable(i, "weight")] = DenseShape(
                    (width, width), math.sqrt(1.0 / width)
                )
            else:
                shapes[self._variable(i, "v")] = DenseShape((width, rank), math.sqrt(1.0 / width))
                shapes[self._variable(i, "u")] = DenseShape((rank, width), math.sqrt(1.0 / rank))
            shapes[self._variable(i, "bias")] = DenseShape((width,))
        return shapes

    def forward(self, x0: F32, dense: Mapping[str, F32]) -> F32:
        """float32[n, D], scratch; x0 is kept for backward and must stay as it is."""
        self._inputs = [x0]
        for i in range(self._layers):
            x = self._inputs[-1]
            z = self._matrix(i, "z", x)
            if self._rank is None:
                np.matmul(x, dense[self._variable(i, "weight")], out=z)
            else:
                low = self._low(i, "low", x)
                np.matmul(x, dense[self._variable(i, "v")], out=low)
                np.matmul(low, dense[self._variable(i, "u")], out=z)
            out = self._matrix(i, "out", x)
            cross(x0, x, z, dense[self._variable(i, "bias")], out)
            self._inputs.append(out)
        return self._inputs[-1]

    def backward(self, dout: F32, dense: Mapping[str, F32], grads: dict[str, F32]) -> F32:
        """The gradient by x0, scratch; adds the variables' summed gradients to grads.

        dout: float32[n, D], by the output; overwritten.
        """
        x0 = self._inputs[0]
        dx0 = self._scratch.matrix(f"{self._name}.dx0", *x0.shape)
        dx0.fill(0)
        dz = self._scratch.matrix(f"{self._name}.dz", *x0.shape)
        through = self._scratch.matrix(f"{self._name}.through", *x0.shape)
        for i in reversed(range(self._layers)):
            x = self._inputs[i]
            dbias = np.empty(self._width, np.float32)
            cross_gradient(x0, self._matrix(i, "z", x), dout, dx0, dz, dbias)
            grads[self._variable(i, "bias")] = dbias
            if self._rank is None:
                grads[self._variable(i, "weight")] = x.T @ dz
                np.matmul(dz, dense[self._variable(i, "weight")].T, out=through)
            else:
                low, dlow = self._low(i, "low", x), self._low(0, "dlow", x)
                grads[self._variable(i, "u")] = low.T @ dz
                np.matmul(dz, dense[self._variable(i, "u")].T, out=dlow)
                grads[self._variable(i, "v")] = x.T @ dlow
                np.matmul(dlow, dense[self._variable(i, "v")].T, out=through)
            dout += through
        dx0 += dout
        return dx0

    def _variable(self, i: int, part: str) -> str:
        return f"{self._name}.{i}.{part}"

    def _matrix(self, i: int, part: str, like: F32) -> F32:
        return self._scratch.matrix(self._variable(i, part), *like.shape)

    def _low(self, i: int, part: str, like: F32) -> F32:
        return self._scratch.matrix(self._variable(i, part), len(like), self._rank or 0)
