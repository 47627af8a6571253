"""Dense variables through the row kernels: a variable is one row as wide as it has elements."""

from __future__ import annotations

import numpy as np

from ps.arrays import Int
from ps.kernels.initialize import init_weights
from ps.kernels.jit import kernel
from ps.kernels.optimize import apply_gradient, init_state

_START = np.int64(0)
_NONE = np.int64(0)


@kernel
def init_variable(
    initializer: Int,
    kind: Int,
    words: np.ndarray,
    width: Int,
    hyper: np.ndarray,
    scale: np.float32,
    seed: np.uint64,
    key: np.uint64,
) -> None:
    """Write the initial weights to words[:width] and the optimizer's state behind them."""
    init_weights(initializer, words, _START, width, _NONE, scale, seed, key)
    init_state(kind, words, _START, width, width, hyper, _START)


@kernel
def apply_variable(
    kind: Int, words: np.ndarray, width: Int, grads: np.ndarray, hyper: np.ndarray
) -> None:
    """Move one variable by its gradient, float32[width]."""
    apply_gradient(kind, words, _START, width, width, grads, _START, hyper, _START)
