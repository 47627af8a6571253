"""Unique fids of a batch by a hash table in scratch memory: one pass, first come first numbered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ps.kernels.jit import kernel

if TYPE_CHECKING:
    from ps.arrays import I32, I64, U32, U64

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: Fibonacci hashing, Knuth vol. 3, 6.4


@kernel
def unique_fids(fids: U64, table: I32, unique: U64, counts: U32, inverse: I64) -> int:
    """Number the distinct fids by first occurrence; returns how many there are, u.

    fids: uint64[m]. table: int32[power of two >= 2 m], scratch. unique: uint64[>= m], counts:
    uint32[>= m]: the first u are set. inverse: int64[m], unique[inverse[i]] == fids[i].
    """
    mask = len(table) - 1
    bits = 0
    while (1 << bits) < len(table):
        bits += 1
    shift = np.uint64(64 - bits)
    for i in range(len(table)):
        table[i] = -1
    u = 0
    for i in range(len(fids)):
        fid = fids[i]
        at = np.int64((fid * _GOLDEN) >> shift)
        number = table[at]
        while number >= 0 and unique[number] != fid:
            at = (at + 1) & mask
            number = table[at]
        if number < 0:
            table[at] = u
            unique[u] = fid
            counts[u] = 1
            inverse[i] = u
            u += 1
        else:
            counts[number] += np.uint32(1)
            inverse[i] = number
    return u
