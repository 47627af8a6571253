"""Factorisation machine of second order (Rendle 2010)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.batch import Gradients
from model.kernels.interaction import second_order, second_order_gradient
from model.model import DenseShape
from model.models.embedding import Embedding
from model.models.linear import LINEAR, linear_gradient, linear_logits
from model.models.state import Pending
from model.scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model.batch import Inputs
    from model.features import FeatureLayout
    from ps.arrays import F32


class FactorisationMachine:
    """logit = bias + sum of weights + dense @ w + sum over pairs of fields of <v_f, v_g>.

    Rows are [w | v]; dense inputs are linear only. The vectors of a multi-valued field are pooled
    to one first, so its values do not interact with each other.
    """

    def __init__(self, layout: FeatureLayout, dim: int) -> None:
        self._layout = layout
        self._dim = dim
        self._embedding = Embedding(layout, dim, lead=True)
        self._scratch = Scratch()
        self._pending: Pending[tuple[F32, F32]] = Pending()

    @property
    def row_width(self) -> int:
        """A weight and a vector."""
        return 1 + self._dim

    @property
    def leading_zeros(self) -> int:
        """The weight starts at zero."""
        return 1

    def dense_shapes(self) -> Mapping[str, DenseShape]:
        """linear: float32[1 + dense_width], the bias first."""
        return {LINEAR: DenseShape((1 + self._layout.dense_width,))}

    def forward(self, inputs: Inputs) -> F32:
        """Logits, float32[size]."""
        n, fields = inputs.batch.size, len(self._layout.fields)
        x = self._scratch.matrix("x", n, self._embedding.width)
        sums = self._scratch.matrix("sums", n, self._dim)
        logits = linear_logits(inputs.dense[LINEAR], inputs.batch.dense)
        self._embedding.forward(inputs, logits, x)
        second_order(x, fields, self._dim, sums, logits)
        self._pending.put(inputs, (x, sums))
        return logits

    def backward(self, dlogits: F32) -> Gradients:
        """Row and dense gradients of the last forward."""
        inputs, (x, sums) = self._pending.take()
        dx = self._scratch.matrix("dx", *x.shape)
        fields = len(self._layout.fields)
        second_order_gradient(dlogits, x, sums, fields, self._dim, False, dx)
        rows = self._embedding.backward(inputs, dlogits, dx)
        return Gradients(rows, {LINEAR: linear_gradient(dlogits, inputs.batch.dense)})
