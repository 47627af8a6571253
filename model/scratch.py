"""Memory that a model uses again from batch to batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ps.arrays import F32


class Scratch:
    """Named float32 buffers that grow to the largest size asked for; contents are undefined."""

    def __init__(self) -> None:
        self._buffers: dict[str, F32] = {}

    def matrix(self, name: str, rows: int, columns: int) -> F32:
        """float32[rows, columns], C-contiguous; the same memory whenever the name is the same."""
        need = rows * columns
        buffer = self._buffers.get(name)
        if buffer is None or len(buffer) < need:
            buffer = np.empty(need, np.float32)
            self._buffers[name] = buffer
        return buffer[:need].reshape(rows, columns)
