"""Hashing of fids: one 64-bit mix, from which bucket, index lines and tag are cut."""

from __future__ import annotations

import numpy as np

from ps.kernels.jit import inlined

_SHIFT = np.uint64(33)
_MULTIPLY_1 = np.uint64(0xFF51AFD7ED558CCD)
_MULTIPLY_2 = np.uint64(0xC4CEB9FE1A85EC53)


@inlined
def mix64(value: np.uint64) -> np.uint64:
    """The finalizer of MurmurHash3: a bijection of 64 bits that avalanches; uint64 -> uint64."""
    value ^= value >> _SHIFT
    value *= _MULTIPLY_1
    value ^= value >> _SHIFT
    value *= _MULTIPLY_2
    value ^= value >> _SHIFT
    return value
