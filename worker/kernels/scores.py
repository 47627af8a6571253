"""Loss, prediction and histogram of a batch in one pass."""

from __future__ import annotations

import math

import numpy as np

from ps.arrays import F64, I64, Bool, Int
from ps.kernels.intrinsics import load, store
from ps.kernels.jit import kernel


@kernel
def add_scores(
    logits: F64,
    labels: Bool,
    rows: I64,
    unit: float,
    limit: float,
    n_bins: Int,
    examples: I64,
    losses: I64,
    predictions: I64,
    histogram: I64,
) -> None:
    """Add examples to the sums of the rows they belong to, or all to row 0 where rows is empty.

    logits: float64[n] within +-limit; labels: bool[n]; rows: int64[n] or [0]. examples, losses and
    predictions: int64[n_rows], the latter two in whole multiples of 1 / unit. histogram:
    int64[n_rows * 2 * n_bins], by row, then label, then bin.
    """
    scale = n_bins / (2.0 * limit)
    for i in range(logits.shape[0]):
        row = load(rows, i) if rows.shape[0] > 0 else np.int64(0)
        logit = load(logits, i)
        positive = labels[i]
        # exp(-|z|) serves both: log(1 + exp(z)) = max(z, 0) + log1p(exp(-|z|)).
        small = math.exp(-abs(logit))
        against = -logit if positive else logit
        loss = max(against, 0.0) + math.log1p(small)
        probability = (1.0 if logit >= 0.0 else small) / (1.0 + small)
        cell = 2 * row * n_bins + min(np.int64((logit + limit) * scale), n_bins - 1)
        if positive:
            cell += n_bins
        store(examples, row, load(examples, row) + 1)
        store(losses, row, load(losses, row) + np.int64(np.rint(loss * unit)))
        store(predictions, row, load(predictions, row) + np.int64(np.rint(probability * unit)))
        store(histogram, cell, load(histogram, cell) + 1)
