"""Initial weights: a function of (seed, fid, column) alone, the same floats wherever it is called.

Counter-based, in the manner of SplitMix64 (Steele, Lea and Flood 2014): a stream starts at a mix of
seed and fid, and column c reads it at c. Only integer arithmetic and exact conversions precede the
one multiplication by the scale, so no libm or vector width can change a bit.
"""

from __future__ import annotations

import numpy as np

from ps.arrays import Int
from ps.kernels.hashing import mix64
from ps.kernels.intrinsics import store
from ps.kernels.jit import inlined

ZEROS = 0
UNIFORM = 1
NORMAL = 2

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # SplitMix64's increment
_SHIFT_16 = np.uint64(16)
_SHIFT_32 = np.uint64(32)
_SHIFT_40 = np.uint64(40)
_SHIFT_48 = np.uint64(48)
_LOW_16 = np.uint64(0xFFFF)
_DRAWS = np.uint64(3)  # 64-bit draws that a normal column takes
_24_BITS = 1 << 24
_MEAN_OF_12 = 12 * 65535 // 2


@inlined
def _stream_of(seed: np.uint64, fid: np.uint64) -> np.uint64:
    return mix64(mix64(seed + _GOLDEN) ^ fid)


@inlined
def _draw(stream: np.uint64, counter: np.uint64) -> np.uint64:
    return mix64(stream + (counter + np.uint64(1)) * _GOLDEN)


@inlined
def _uniform(stream: np.uint64, column: np.uint64) -> np.float32:
    """An odd multiple of 2^-24 in (-1, 1): symmetric about 0, and exact in float32."""
    top = np.int64(_draw(stream, column) >> _SHIFT_40)
    return np.float32(2 * top + 1 - _24_BITS) * np.float32(2.0**-24)


@inlined
def _sum_of_four(bits: np.uint64) -> Int:
    return np.int64(
        (bits & _LOW_16)
        + ((bits >> _SHIFT_16) & _LOW_16)
        + ((bits >> _SHIFT_32) & _LOW_16)
        + (bits >> _SHIFT_48)
    )


@inlined
def _normal(stream: np.uint64, column: np.uint64) -> np.float32:
    """Twelve 16-bit uniforms, summed (Irwin-Hall): mean 0, variance 1, kurtosis 2.9, |x| < 6.

    The variance of the integer sum is 2^32 - 1, so dividing by 2^16 is all the scaling it needs.
    """
    first = column * _DRAWS
    total = (
        _sum_of_four(_draw(stream, first))
        + _sum_of_four(_draw(stream, first + np.uint64(1)))
        + _sum_of_four(_draw(stream, first + np.uint64(2)))
    )
    return np.float32(total - _MEAN_OF_12) * np.float32(2.0**-16)


@inlined
def init_weights(
    kind: Int,
    words: np.ndarray,
    w_at: Int,
    width: Int,
    leading_zeros: Int,
    scale: np.float32,
    seed: np.uint64,
    fid: np.uint64,
) -> None:
    """Write a row's initial weights to words[w_at:w_at + width], float32.

    The first leading_zeros columns are 0; leaving them out does not shift the others' numbers.
    """
    zeros = width if kind == ZEROS else min(leading_zeros, width)
    for column in range(zeros):
        store(words, w_at + column, np.float32(0.0))
    if kind == UNIFORM:
        stream = _stream_of(seed, fid)
        for column in range(zeros, width):
            store(words, w_at + column, scale * _uniform(stream, np.uint64(column)))
    elif kind == NORMAL:
        stream = _stream_of(seed, fid)
        for column in range(zeros, width):
            store(words, w_at + column, scale * _normal(stream, np.uint64(column)))
