"""The check every gradient passes before anything is applied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ps.errors import NonFiniteGradientError

if TYPE_CHECKING:
    from ps.arrays import F32

# Squares of larger numbers leave float32 too little room to add them up (ps.kernels.optimize).
GRADIENT_LIMIT = 1e15


def check_gradient(where: str, grads: F32) -> None:
    """Raise NonFiniteGradientError where grads (float32, any shape) holds NaN, inf or |g| > 1e15."""
    if grads.size == 0:
        return
    # Two passes without a copy; a NaN makes both comparisons false.
    if not (grads.max() <= GRADIENT_LIMIT and grads.min() >= -GRADIENT_LIMIT):
        raise NonFiniteGradientError(where, GRADIENT_LIMIT)
