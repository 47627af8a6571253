"""How this process's C library treats memory that was freed: kept, for the next batch."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

# glibc's names for its settings.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

# The largest that glibc takes: blocks below it are not mapped, and unmapped, one by one.
_LARGEST_KEPT_BYTES = 32 << 20
_MOST_KEPT_BYTES = 256 << 20


@cache
def keep_freed_memory() -> bool:
    """Keep up to 256 MB of freed memory of a heap rather than give it back; whether that can be set.

    Every message of a batch is new memory of a megabyte or more. Given back after use, it comes as
    zeroed pages the next time, one fault each 4 KiB: more than half of what serving a pull costs.
    For the whole process, and once; elsewhere than on glibc there is no such setting, nor need.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    return bool(
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)
        and mallopt(_M_TRIM_THRESHOLD, _MOST_KEPT_BYTES)
    )
