"""DCN-v2: explicit feature crosses beside or beneath an MLP (Wang et al. 2021, section 3)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from model.batch import Gradients
from model.model import DenseShape
from model.models.cross_net import CrossNet
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

Structure = Literal["parallel", "stacked"]
_OUT_DEEP = "mlp.out.weight"
_OUT_CROSS = "cross.out.weight"


class Dcn:
    """x0 = [embeddings | dense inputs]; crosses of x0, and an MLP over x0 or over the crosses.

    parallel: logit = w_c . cross(x0) + w_d . mlp(x0); stacked: logit = w_d . mlp(cross(x0)). Beside
    that the dense inputs and a bias enter linearly, as in the other models. Rows are [v].
    """

    def __init__(
        self,
        layout: FeatureLayout,
        dim: int,
        hidden: Sequence[int],
        cross_layers: int,
        rank: int | None,
        structure: Structure,
    ) -> None:
        self._layout = layout
        self._embedding = Embedding(layout, dim, lead=False)
        self._width = self._embedding.width + layout.dense_width
        self._parallel = structure == "parallel"
        self._scratch = Scratch()
        self._cross = CrossNet("cross", self._width, cross_layers, rank, self._scratch)
        self._mlp = Mlp("mlp", self._width, hidden, self._scratch)
        self._pending: Pending[tuple[F32, F32]] = Pending()

    @property
    def row_width(self) -> int:
        """A vector."""
        return self._embedding.row_width

    @property
    def leading_zeros(self) -> int:
        """None: all of a vector is drawn."""
        return 0

    def dense_shapes(self) -> Mapping[str, DenseShape]:
        """linear, the cross layers', the MLP's, and an output vector for each of the two (or one)."""
        top = self._mlp.out_width
        shapes = {
            LINEAR: DenseShape((1 + self._layout.dense_width,)),
            **self._cross.dense_shapes(),
            **self._mlp.dense_shapes(),
            _OUT_DEEP: DenseShape((top,), math.sqrt(1.0 / top)),
        }
        if self._parallel:
            shapes[_OUT_CROSS] = DenseShape((self._width,), math.sqrt(1.0 / self._width))
        return shapes

    def forward(self, inputs: Inputs) -> F32:
        """Logits, float32[size]."""
        x0 = self._scratch.matrix("x0", inputs.batch.size, self._width)
        logits = linear_logits(inputs.dense[LINEAR], inputs.batch.dense)
        self._embedding.forward(inputs, logits, x0)
        x0[:, self._embedding.width :] = inputs.batch.dense
        crossed = self._cross.forward(x0, inputs.dense)
        deep = self._mlp.forward(x0 if self._parallel else crossed, inputs.dense)
        logits += deep @ inputs.dense[_OUT_DEEP]
        if self._parallel:
            logits += crossed @ inputs.dense[_OUT_CROSS]
        self._pending.put(inputs, (crossed, deep))
        return logits

    def backward(self, dlogits: F32) -> Gradients:
        """Row and dense gradients of the last forward."""
        inputs, (crossed, deep) = self._pending.take()
        grads = {LINEAR: linear_gradient(dlogits, inputs.batch.dense)}
        summed = {_OUT_DEEP: dlogits @ deep}
        ddeep = self._scratch.matrix("ddeep", *deep.shape)
        np.multiply(dlogits[:, None], inputs.dense[_OUT_DEEP], out=ddeep)
        dx = self._mlp.backward(ddeep, inputs.dense, summed)
        if self._parallel:
            summed[_OUT_CROSS] = dlogits @ crossed
            dcrossed = self._scratch.matrix("dcrossed", *crossed.shape)
            np.multiply(dlogits[:, None], inputs.dense[_OUT_CROSS], out=dcrossed)
            dx += self._cross.backward(dcrossed, inputs.dense, summed)
        else:
            dx = self._cross.backward(dx, inputs.dense, summed)
        rows = self._embedding.backward(inputs, dlogits, dx)
        mean = np.float32(1.0 / max(len(dlogits), 1))
        for name, grad in summed.items():
            grad *= mean
            grads[name] = grad
        return Gradients(rows, grads)
