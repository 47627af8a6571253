"""Lazily committed anonymous memory: reserved once, never moved, paid for as it is touched."""

from __future__ import annotations

import ctypes
import mmap
from typing import TYPE_CHECKING, Any

import numpy as np

from ps.errors import SpecError

if TYPE_CHECKING:
    import numpy.typing as npt

    from ps.arrays import U8

# Linux's MAP_NORESERVE, which the mmap module does not name: reserve addresses, not memory.
_MAP_NORESERVE = 0x4000
# Linux's MADV_POPULATE_WRITE, since 5.14: commit pages as a write would, and leave them as they are.
_MADV_POPULATE_WRITE = 23
_HUGE_PAGE_BYTES = 2 << 20
# So much at a time: a page fault of the thread that fills the memory waits no longer.
_COMMIT_BYTES = 8 << 20


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


def commit(memory: npt.NDArray[Any], size_bytes: int) -> None:
    """Have the first size_bytes of reserved memory ready, so that writing to them waits for no page.

    Content stays as it is, so another thread may be filling the memory meanwhile. Where the system
    cannot, nothing happens: pages are then committed as they are touched.
    """
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    begin, end = memory.ctypes.data, memory.ctypes.data + min(size_bytes, memory.nbytes)
    for at in range(begin, end, _COMMIT_BYTES):
        size = min(_COMMIT_BYTES, end - at)
        if madvise(ctypes.c_void_p(at), ctypes.c_size_t(size), _MADV_POPULATE_WRITE):
            return
