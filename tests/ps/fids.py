"""The hash of fids in plain Python, and its inverse: to make fids that collide where a test wants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ps.messages import RowGradients

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ps.arrays import F32, U64

_MASK = (1 << 64) - 1
_MULTIPLY = (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53)
_UNMULTIPLY = tuple(pow(factor, -1, 1 << 64) for factor in _MULTIPLY)
_SECOND = 0x9E3779B97F4A7C15


def mix64(value: int) -> int:
    """MurmurHash3's finalizer, as its author wrote it."""
    for factor in _MULTIPLY:
        value ^= value >> 33
        value = value * factor & _MASK
    return value ^ value >> 33


def unmix64(mixed: int) -> int:
    """The one value whose mix64 is `mixed`."""
    for factor in reversed(_UNMULTIPLY):
        mixed ^= mixed >> 33
        mixed = mixed * factor & _MASK
    return mixed ^ mixed >> 33


def fids_of(values: Iterable[int], slot: int = 0) -> U64:
    return np.array([(slot << 48) | value for value in values], dtype=np.uint64)


def same_line_and_tag(count: int, low_48: int = 0x1234_0000_0007) -> list[int]:
    """Fids that share their first line at every size of the index, and their tag."""
    return [unmix64(high << 48 | low_48) for high in range(count)]


def same_bucket(count: int, bucket: int) -> list[int]:
    """Fids of one bucket."""
    return [unmix64(bucket << 54 | low) for low in range(count)]


def same_lines(count: int, bits: int, seed: int = 1) -> list[int]:
    """Fids that share both their lines as long as the index has at most 2^bits of them."""
    rng = np.random.default_rng(seed)
    found: list[int] = []
    shift, low = np.uint64(bits), (1 << bits) - 1
    while len(found) < count:
        mixed = rng.integers(0, 1 << 64, 1 << 20, dtype=np.uint64) >> shift << shift
        second = (mixed * np.uint64(_SECOND)) >> np.uint64(32)
        found += [unmix64(int(m)) for m in mixed[(second & np.uint64(low)) == 5]]
    return found[:count]


def gradients(fids: U64, grads: F32 | float = -1.0, width: int = 1, count: int = 1) -> RowGradients:
    """One gradient for every fid: an array, or one number for all."""
    if isinstance(grads, float):
        grads = np.full((len(fids), width), grads, dtype=np.float32)
    return RowGradients(fids, grads, np.full(len(fids), count, dtype=np.uint32))
