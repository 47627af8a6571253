"""The decorator that every kernel wears."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

_Fn = TypeVar("_Fn", bound=Callable[..., Any])


def kernel(fn: _Fn) -> _Fn:
    """Compile fn on first use, cached on disk, without the GIL.

    Division by zero follows IEEE (error_model="numpy"), so no kernel can raise.
    """
    return cast("_Fn", numba.njit(nogil=True, cache=True, error_model="numpy")(fn))


def inlined(fn: _Fn) -> _Fn:
    """Like kernel, for small functions that only other kernels call: inlined by LLVM, no entry."""
    return cast(
        "_Fn",
        numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)(fn),
    )
