"""Logistic loss from logits, its derivative, and the probability."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ps.arrays import F32


def sigmoid(logits: F32) -> F32:
    """1 / (1 + exp(-logit)) without overflow, float32[n]."""
    decay: F32 = np.exp(-np.abs(logits))
    probabilities: F32 = np.where(logits >= 0, np.float32(1), decay) / (np.float32(1) + decay)
    return probabilities


def logistic_loss(logits: F32, labels: F32) -> F32:
    """-log p(label), float32[n], for labels of 0 or 1: max(l, 0) - l y + log(1 + exp(-|l|)).

    From the logit, so that a confident mistake costs what it should and never infinity.
    """
    positive = np.maximum(logits, np.float32(0))
    loss: F32 = positive - logits * labels + np.log1p(np.exp(-np.abs(logits)))
    return loss


def logistic_gradient(logits: F32, labels: F32) -> F32:
    """dlogits: sigmoid(logit) - label, float32[n]."""
    return sigmoid(logits) - labels
