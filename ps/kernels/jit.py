"""The decorators that every kernel wears."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

_Fn = TypeVar("_Fn", bound=Callable[..., Any])
# _nrt is not in numba's annotations: no reference counting, so what allocates does not compile.
_njit: Any = partial(numba.njit, nogil=True, error_model="numpy", _nrt=False)


@cache
def _folder_digest(folder: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for source in sorted(folder.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _tie_cache_to_folders(dispatcher: Any, fn: Callable[..., Any]) -> None:
    """Make cached code depend on every kernel source, not only on the file fn stands in.

    numba compares the time stamp of fn's own file; a change to a function that was inlined
    from another file would go on running the old code.
    """
    cache_file = dispatcher._cache._cache_file  # noqa: SLF001  numba has no public name for it
    folders = {Path(__file__).parent, Path(inspect.getfile(fn)).parent}
    stamps = tuple(_folder_digest(folder) for folder in sorted(folders))
    cache_file._source_stamp = (cache_file._source_stamp, *stamps)  # noqa: SLF001
    load_index = cache_file._load_index  # noqa: SLF001

    def load_known_index() -> Any:
        """What was cached; nothing where it is of an older version, whose types are no more."""
        try:
            return load_index()
        except (AttributeError, ImportError):
            return {}

    cache_file._load_index = load_known_index  # noqa: SLF001


def kernel(fn: _Fn) -> _Fn:
    """Compile fn on first use, cached on disk, without the GIL, allocations or reference counts.

    Division by zero follows IEEE (error_model="numpy"), so no kernel can raise.
    """
    dispatcher = _njit(cache=True)(fn)
    _tie_cache_to_folders(dispatcher, fn)
    return cast("_Fn", dispatcher)


def inlined(fn: _Fn) -> _Fn:
    """Like kernel, for functions that only other kernels call: LLVM inlines them, nothing is cached."""
    dispatcher = _njit(forceinline=True)(fn)
    return cast("_Fn", dispatcher)


def seldom(fn: _Fn) -> _Fn:
    """Like inlined, for what is called seldom: left out of line, so that its caller stays small."""
    dispatcher = _njit()(fn)
    return cast("_Fn", dispatcher)
