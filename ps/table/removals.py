"""The fids that lost their rows since the last seal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ps.arrays import U64

_FIRST_ROOM = 1024


class Removals:
    """A list that kernels append to: fids uint64[room], the first `count` of them in use."""

    def __init__(self) -> None:
        self.fids: U64 = np.empty(_FIRST_ROOM, dtype=np.uint64)
        self.count = 0

    def make_room(self, more: int) -> None:
        """See to it that `more` fids can be appended."""
        if self.count + more > self.fids.size:
            grown = np.empty(max(self.count + more, 2 * self.fids.size), dtype=np.uint64)
            grown[: self.count] = self.fids[: self.count]
            self.fids = grown

    def extend(self, fids: U64) -> None:
        """Append fids, uint64[n]."""
        self.make_room(fids.size)
        self.fids[self.count : self.count + fids.size] = fids
        self.count += fids.size

    def drain(self) -> U64:
        """All of them, as an array of the caller's; the list is empty again."""
        drained = self.fids[: self.count].copy()
        if self.fids.size > _FIRST_ROOM:
            self.fids = np.empty(_FIRST_ROOM, dtype=np.uint64)
        self.count = 0
        return drained
