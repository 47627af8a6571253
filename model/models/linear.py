"""The linear part that models share: a bias and a weight for every dense input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ps.arrays import F32

LINEAR = "linear"


def linear_logits(weights: F32, dense: F32) -> F32:
    """bias + dense @ w, a new float32[n]; weights: float32[1 + D], bias first; dense: [n, D]."""
    logits = np.full(len(dense), weights[0], np.float32)
    if dense.shape[1]:
        logits += dense @ weights[1:]
    return logits


def linear_gradient(dlogits: F32, dense: F32) -> F32:
    """Mean gradient over the batch, float32[1 + D]."""
    grad = np.empty(1 + dense.shape[1], np.float32)
    grad[0] = dlogits.sum()
    grad[1:] = dlogits @ dense
    grad *= np.float32(1.0 / max(len(dlogits), 1))
    return grad
