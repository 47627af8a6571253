"""One row outside any table, moved by the kernels as a dense variable is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ps.initializers import Initializer
from ps.kernels.dense import apply_variable, init_variable

if TYPE_CHECKING:
    from ps.arrays import F32
    from ps.optimizers import Optimizer


class Variable:
    """weights float32[width] and optimizer state, in one array."""

    def __init__(
        self,
        optimizer: Optimizer,
        width: int,
        initializer: Initializer | None = None,
        seed: int = 1,
        key: int = 1,
    ) -> None:
        initializer = initializer or Initializer()
        self.optimizer = optimizer
        self.width = width
        self.hyper = optimizer.hyper()
        # What a kernel fails to write, or writes too far, shows as NaN.
        self.words: F32 = np.full(width + optimizer.state_width(width) + 8, np.nan, np.float32)
        init_variable(
            np.int64(initializer.code),
            np.int64(optimizer.kind),
            self.words,
            np.int64(width),
            self.hyper,
            np.float32(initializer.scale),
            np.uint64(seed),
            np.uint64(key),
        )

    @property
    def weights(self) -> F32:
        return self.words[: self.width]

    @property
    def state(self) -> F32:
        return self.words[self.width : -8]

    @property
    def beyond(self) -> F32:
        """The eight words behind the state, which nobody may write."""
        return self.words[-8:]

    def apply(self, grads: F32) -> F32:
        apply_variable(
            np.int64(self.optimizer.kind), self.words, np.int64(self.width), grads, self.hyper
        )
        return self.weights
