"""The exactness probe: a model whose gradient is -1 for every occurrence of every fid.

Under plain SGD of rate 1 each weight then equals the number of times its fid occurred in the
stream, exactly, whatever was killed and replayed on the way (up to 2^24, where float32 stops
counting). It predicts nothing: every logit is zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model.batch import Gradients
from model.models.state import Pending

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model.batch import Inputs
    from model.features import FeatureLayout
    from model.model import DenseShape
    from ps.arrays import F32


class Counting:
    """Rows of one float that starts at zero; no dense variables."""

    def __init__(self, layout: FeatureLayout) -> None:
        del layout
        self._pending: Pending[None] = Pending()

    @property
    def row_width(self) -> int:
        """One float a row: its count."""
        return 1

    @property
    def leading_zeros(self) -> int:
        """Counting starts at zero."""
        return 1

    def dense_shapes(self) -> Mapping[str, DenseShape]:
        """None."""
        return {}

    def forward(self, inputs: Inputs) -> F32:
        """Zeros, float32[size]."""
        self._pending.put(inputs, None)
        return np.zeros(inputs.batch.size, np.float32)

    def backward(self, dlogits: F32) -> Gradients:
        """Minus the counts, whatever dlogits says."""
        del dlogits
        inputs, _ = self._pending.take()
        rows = {
            table: -lookup.counts.astype(np.float32).reshape(-1, 1)
            for table, lookup in inputs.lookups.items()
        }
        return Gradients(rows, {})
