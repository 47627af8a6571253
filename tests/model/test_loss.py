"""The logistic loss, its derivative and the sigmoid, at ordinary and at extreme logits."""

from __future__ import annotations

import numpy as np

from model.loss import logistic_gradient, logistic_loss, sigmoid

LOGITS = np.array([-200, -90, -20, -1, 0, 0.5, 20, 90, 200], np.float32)


def test_sigmoid_is_exact_to_float32_and_never_overflows() -> None:
    exact = 1.0 / (1.0 + np.exp(-LOGITS.astype(np.float64)))
    np.testing.assert_allclose(sigmoid(LOGITS), exact, rtol=1e-6, atol=1e-38)
    assert sigmoid(LOGITS).dtype == np.float32


def test_loss_grows_with_the_logit_of_a_confident_mistake() -> None:
    zeros, ones = np.zeros_like(LOGITS), np.ones_like(LOGITS)
    wide = LOGITS.astype(np.float64)
    np.testing.assert_allclose(logistic_loss(LOGITS, ones), np.logaddexp(0, -wide), 1e-6, 1e-38)
    np.testing.assert_allclose(logistic_loss(LOGITS, zeros), np.logaddexp(0, wide), 1e-6, 1e-38)
    assert logistic_loss(LOGITS, ones).dtype == np.float32


def test_gradient_is_the_derivative_of_the_loss() -> None:
    for label in (0.0, 1.0):
        wide = LOGITS.astype(np.float64)
        sign = 1 - 2 * label
        slope = (
            np.logaddexp(0, sign * (wide + 1e-6)) - np.logaddexp(0, sign * (wide - 1e-6))
        ) / 2e-6
        labels = np.full_like(LOGITS, label)
        np.testing.assert_allclose(logistic_gradient(LOGITS, labels), slope, atol=1e-6)
