"""Columns side by side to examples one after another."""

from __future__ import annotations

from ps.arrays import I64, U64, Int
from ps.kernels.intrinsics import load, load_word, store
from ps.kernels.jit import kernel

# Examples turned at a time: with forty columns, what is read and written fits the first-level cache.
_BLOCK = 64
_WORD_BYTES = 8


@kernel
def interleave(addresses: I64, n: Int, out: U64) -> None:
    """out[i * k + c] = columns[c][i], for k columns of uint64[n] given by their addresses, int64[k]."""
    k = addresses.shape[0]
    for begin in range(0, n, _BLOCK):
        end = min(n, begin + _BLOCK)
        for c in range(k):
            column = load(addresses, c)
            for i in range(begin, end):
                store(out, i * k + c, load_word(column + _WORD_BYTES * i))
