"""Counts as bytes: what a state is written as, in as few bytes as the largest of them needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ps.arrays import I64

_SIZES = (1, 2, 4, 8)


def pack(counts: I64) -> bytes:
    """int64[n], none below 0, as one byte that says how wide each is, and n of that width."""
    largest = int(counts.max(initial=0))
    size = next(size for size in _SIZES if largest < 1 << 8 * size)
    return bytes([size]) + counts.astype(f"<u{size}").tobytes()


def unpack(data: bytes) -> I64:
    """The other way round: int64[n], the caller's own. Raises ValueError for anything else."""
    if not data or data[0] not in _SIZES:
        raise ValueError("not packed counts")
    values = np.frombuffer(data, f"<u{data[0]}", offset=1).astype(np.int64)
    if values.min(initial=0) < 0:
        raise ValueError("a count beyond 63 bits")
    return values
