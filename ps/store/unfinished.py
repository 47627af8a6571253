"""Names of files while they are written, told from those that a dead writer left.

The number of a process is no help: in a container every start has the same one.
"""

from __future__ import annotations

import itertools
import os

from ps.store.location import UNFINISHED

_COUNTER = itertools.count()
_writing: set[str] = set()


def name_beside(name: str) -> str:
    """A new name for a file that is about to be written, until forget(); not like any other of this
    process, and unlikely to be like one of another.
    """
    beside = f"{name}{UNFINISHED}{os.getpid()}-{next(_COUNTER)}"
    _writing.add(_own_part(beside))
    return beside


def forget(beside: str) -> None:
    """The file has been renamed or deleted, or its writer has given up."""
    _writing.discard(_own_part(beside))


def is_left_behind(name: str) -> bool:
    """Whether a name is of a file that was being written, and not by this process now."""
    return UNFINISHED in name and _own_part(name) not in _writing


def _own_part(name: str) -> str:
    return name.rpartition(UNFINISHED)[2]
