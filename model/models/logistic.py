"""Logistic regression: a weight for every fid, one for every dense input, and a bias."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model.batch import Gradients
from model.model import DenseShape
from model.models.embedding import Embedding
from model.models.linear import LINEAR, linear_gradient, linear_logits
from model.models.state import Pending

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model.batch import Inputs
    from model.features import FeatureLayout
    from ps.arrays import F32


class LogisticRegression:
    """logit = bias + sum of the fids' weights + dense @ w (McMahan et al. 2013, section 3).

    Everything starts at zero. A multi-valued feature adds the sum or mean of its weights.
    """

    def __init__(self, layout: FeatureLayout) -> None:
        self._layout = layout
        self._embedding = Embedding(layout, 0, lead=True)
        self._no_vectors = np.empty((0, 0), np.float32)
        self._pending: Pending[None] = Pending()

    @property
    def row_width(self) -> int:
        """One float a row: its weight."""
        return 1

    @property
    def leading_zeros(self) -> int:
        """The weight starts at zero."""
        return 1

    def dense_shapes(self) -> Mapping[str, DenseShape]:
        """linear: float32[1 + dense_width], the bias first."""
        return {LINEAR: DenseShape((1 + self._layout.dense_width,))}

    def forward(self, inputs: Inputs) -> F32:
        """Logits, float32[size]."""
        logits = linear_logits(inputs.dense[LINEAR], inputs.batch.dense)
        self._embedding.forward(inputs, logits, self._no_vectors)
        self._pending.put(inputs, None)
        return logits

    def backward(self, dlogits: F32) -> Gradients:
        """Row and dense gradients of the last forward."""
        inputs, _ = self._pending.take()
        rows = self._embedding.backward(inputs, dlogits, self._no_vectors)
        return Gradients(rows, {LINEAR: linear_gradient(dlogits, inputs.batch.dense)})
