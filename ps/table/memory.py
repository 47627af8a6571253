"""Lazily committed anonymous memory: reserved once, never moved, paid for as it is touched."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

import numpy as np

from ps.errors import SpecError

if TYPE_CHECKING:
    from ps.arrays import U8

# Linux's MAP_NORESERVE, which the mmap module does not name: reserve addresses, not memory.
_MAP_NORESERVE = 0x4000
_HUGE_PAGE_BYTES = 2 << 20


def reserve(size_bytes: int, *, huge_pages: bool = True) -> U8:
    """Zeroed uint8[size_bytes], rounded up to whole huge pages; pages are committed on first touch.

    The array owns its mapping; both go together. Raises SpecError where the address space is not
    to be had.
    """
    rounded = -(-max(size_bytes, 1) // _HUGE_PAGE_BYTES) * _HUGE_PAGE_BYTES
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
    try:
        # One huge page more, so that the array can start on a boundary of one.
        mapping = mmap.mmap(-1, rounded + _HUGE_PAGE_BYTES, flags=flags)
    except (OSError, ValueError, OverflowError) as error:
        raise SpecError(
            f"cannot reserve {rounded:,} bytes of address space ({error}); lower capacity_rows"
        ) from error
    if huge_pages and hasattr(mmap, "MADV_HUGEPAGE"):
        mapping.madvise(mmap.MADV_HUGEPAGE)
    whole = np.frombuffer(mapping, dtype=np.uint8)
    start = -whole.ctypes.data % _HUGE_PAGE_BYTES
    return whole[start : start + rounded]
