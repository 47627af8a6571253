"""Area under the ROC curve: the chance that a click scores above a non-click, ties half."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ps.arrays import F32, F64, I64, Bool


def exact_auc(scores: F32 | F64, labels: Bool) -> float | None:
    """The Mann-Whitney statistic by ranks; None where one class is missing. O(n log n).

    scores: float[n], any monotone function of the probability. labels: bool[n].
    """
    values, codes = np.unique(scores, return_inverse=True)
    positives = np.bincount(codes[labels], minlength=len(values))
    negatives = np.bincount(codes[~labels], minlength=len(values))
    return binned_auc(negatives, positives)[0]


def binned_auc(negatives: I64, positives: I64) -> tuple[float | None, float | None]:
    """AUC of examples known only by bin, and how far it can be from the exact one.

    negatives, positives: int64[bins], counts by ascending score. Pairs within a bin count as ties,
    that is one half; the truth may be anything from 0 to 1 for each, whence the bound: half the
    share of such pairs. Both are None where one class is missing.
    """
    n_positives = int(positives.sum())
    n_negatives = int(negatives.sum())
    if n_positives == 0 or n_negatives == 0:
        return None, None
    # Products of counts exceed int64 in long streams; float64 keeps 15 digits of them.
    below = np.cumsum(negatives) - negatives
    won = float(np.dot(positives.astype(np.float64), below.astype(np.float64)))
    tied = float(np.dot(positives.astype(np.float64), negatives.astype(np.float64)))
    pairs = float(n_positives) * float(n_negatives)
    return (won + 0.5 * tied) / pairs, 0.5 * tied / pairs
