"""The embedding layer: a linear weight and a pooled vector for every field of a layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model.kernels.embedding import gather, gather_pooled, scatter, scatter_pooled

if TYPE_CHECKING:
    from model.batch import Inputs
    from model.features import FeatureLayout
    from ps.arrays import F32


class Embedding:
    """Rows are [linear weight, if lead | vector of dim]; field f has columns f * dim of x.

    A multi-valued field's vectors and weights are summed or averaged; no values give zeros.
    """

    def __init__(self, layout: FeatureLayout, dim: int, *, lead: bool) -> None:
        self._fields = layout.fields
        self._dim = dim
        self._lead = int(lead)

    @property
    def row_width(self) -> int:
        """Floats in a row."""
        return self._lead + self._dim

    @property
    def width(self) -> int:
        """Columns that forward fills."""
        return len(self._fields) * self._dim

    def forward(self, inputs: Inputs, linear: F32, x: F32) -> None:
        """linear (float32[n]) += the fields' weights; x[:, :width] = their vectors."""
        for f, field in enumerate(self._fields):
            rows = inputs.rows[field.table]
            inverse = inputs.lookups[field.table].inverse[field.name]
            offsets = inputs.batch.columns[field.name].offsets
            if offsets is None:
                gather(rows, inverse, self._lead, linear, x, f * self._dim)
            else:
                mean = field.pooling == "mean"
                gather_pooled(rows, inverse, offsets, mean, self._lead, linear, x, f * self._dim)

    def backward(self, inputs: Inputs, dlinear: F32, dx: F32) -> dict[str, F32]:
        """Row gradients by table, in arrays of their own: float32[u, row_width].

        dlinear: float32[n]; dx: float32[n, >= width], by the vectors that forward filled in.
        """
        grads = {
            table: np.zeros((len(lookup.fids), self.row_width), np.float32)
            for table, lookup in inputs.lookups.items()
        }
        for f, field in enumerate(self._fields):
            inverse = inputs.lookups[field.table].inverse[field.name]
            offsets = inputs.batch.columns[field.name].offsets
            out = grads[field.table]
            if offsets is None:
                scatter(dlinear, dx, f * self._dim, inverse, self._lead, out)
            else:
                mean = field.pooling == "mean"
                scatter_pooled(dlinear, dx, f * self._dim, inverse, offsets, mean, self._lead, out)
        return grads
