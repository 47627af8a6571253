"""DeepFM: a factorisation machine and an MLP over the same embeddings (Guo et al. 2017)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from model.batch import Gradients
from model.kernels.interaction import second_order, second_order_gradient
from model.model import DenseShape
from model.models.embedding import Embedding
from model.models.linear import LINEAR, linear_gradient, linear_logits
from model.models.mlp import Mlp
from model.models.state import Pending
from model.scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from model.batch import Inputs
    from model.features import FeatureLayout
    from ps.arrays import F32

_OUT = "mlp.out.weight"


class DeepFm:
    """logit = FM + w . MLP([embeddings | dense inputs]).

    Rows are [w | v] as in the FM. The output has no bias of its own: linear[0] is it.
    """

    def __init__(self, layout: FeatureLayout, dim: int, hidden: Sequence[int]) -> None:
        self._layout = layout
        self._dim = dim
        self._embedding = Embedding(layout, dim, lead=True)
        self._scratch = Scratch()
        self._width = self._embedding.width + layout.dense_width
        self._mlp = Mlp("mlp", self._width, hidden, self._scratch)
        self._pending: Pending[tuple[F32, F32, F32]] = Pending()

    @property
    def row_width(self) -> int:
        """A weight and a vector."""
        return 1 + self._dim

    @property
    def leading_zeros(self) -> int:
        """The weight starts at zero."""
        return 1

    def dense_shapes(self) -> Mapping[str, DenseShape]:
        """linear: float32[1 + dense_width], the MLP's, and mlp.out.weight: float32[last hidden]."""
        top = self._mlp.out_width
        return {
            LINEAR: DenseShape((1 + self._layout.dense_width,)),
            **self._mlp.dense_shapes(),
            _OUT: DenseShape((top,), math.sqrt(1.0 / top)),
        }

    def forward(self, inputs: Inputs) -> F32:
        """Logits, float32[size]."""
        n, fields = inputs.batch.size, len(self._layout.fields)
        x = self._scratch.matrix("x", n, self._width)
        sums = self._scratch.matrix("sums", n, self._dim)
        logits = linear_logits(inputs.dense[LINEAR], inputs.batch.dense)
        self._embedding.forward(inputs, logits, x)
        x[:, self._embedding.width :] = inputs.batch.dense
        second_order(x, fields, self._dim, sums, logits)
        h = self._mlp.forward(x, inputs.dense)
        logits += h @ inputs.dense[_OUT]
        self._pending.put(inputs, (x, sums, h))
        return logits

    def backward(self, dlogits: F32) -> Gradients:
        """Row and dense gradients of the last forward."""
        inputs, (x, sums, h) = self._pending.take()
        grads = {LINEAR: linear_gradient(dlogits, inputs.batch.dense)}
        deep = {_OUT: dlogits @ h}
        dh = self._scratch.matrix("dh", *h.shape)
        np.multiply(dlogits[:, None], inputs.dense[_OUT], out=dh)
        dx = self._mlp.backward(dh, inputs.dense, deep)
        fields = len(self._layout.fields)
        second_order_gradient(dlogits, x, sums, fields, self._dim, True, dx)
        rows = self._embedding.backward(inputs, dlogits, dx)
        mean = np.float32(1.0 / max(len(dlogits), 1))
        for name, grad in deep.items():
            grad *= mean
            grads[name] = grad
        return Gradients(rows, grads)
