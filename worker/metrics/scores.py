"""Predictions as clipped logits: the common coin of loss, histogram and AUC."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ps.arrays import F32, F64

# A logit beyond this counts as this: probabilities from 1.1e-7 to 1 - 1.1e-7, about what a float32
# near 1 can tell apart. It bounds what one example adds to the log loss by 16.
LOGIT_LIMIT = 16.0
_PROBABILITY_LIMIT = 1.0 / (1.0 + np.exp(LOGIT_LIMIT))


def logits_of(probabilities: F32) -> F64:
    """log(p / (1 - p)), clipped to LOGIT_LIMIT: float64[n]; NaN where p is no probability."""
    p = probabilities.astype(np.float64)
    with np.errstate(invalid="ignore"):
        if not (p.min(initial=0.0) >= 0.0 and p.max(initial=1.0) <= 1.0):
            p[(p < 0.0) | (p > 1.0)] = np.nan
        np.clip(p, _PROBABILITY_LIMIT, 1.0 - _PROBABILITY_LIMIT, out=p)
        # A float32 leaves 1 - p exact in float64, so one logarithm loses nothing.
        z: F64 = np.log(p / (1.0 - p))
    return np.clip(z, -LOGIT_LIMIT, LOGIT_LIMIT, out=z)


def clipped(logits: F32 | F64) -> F64:
    """Logits as float64[n], clipped to LOGIT_LIMIT; infinities become NaN."""
    z = logits.astype(np.float64)
    z[~np.isfinite(z)] = np.nan
    return np.clip(z, -LOGIT_LIMIT, LOGIT_LIMIT)
