"""A set of changes to one table: of every fid the newest row, or that it was removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from ps.block import TableDelta
from ps.errors import ShapeError
from ps.kernels import merge
from ps.kernels.routing import group_by_shard
from ps.store.rows import BUCKETS

if TYPE_CHECKING:
    from ps.arrays import F32, I32, I64, U8, U32, U64

A = TypeVar("A", bound=npt.NDArray[Any])

_FIRST_ENTRIES = 1024
_MAX_ENTRIES = (1 << 31) - 1  # as kernels number them
_INDEX_BYTES_PER_ENTRY = 16  # four bytes a slot; between two and four slots an entry


class ChangeSet:
    """Changes of one table in buckets [first_bucket, end_bucket), by fid.

    Memory goes by the number of fids that changed, not by how often they did. width, state_width:
    of the rows; 0 and 0: only which fids changed is kept.
    """

    def __init__(
        self, width: int, state_width: int, first_bucket: int = 0, end_bucket: int = BUCKETS
    ) -> None:
        self.width = width
        self.state_width = state_width
        self.first_bucket = first_bucket
        self.end_bucket = end_bucket
        self._n = 0
        self._grouped: tuple[I64, I64] | None = None
        self._index: I32 = new_index(_FIRST_ENTRIES)
        self._index.fill(-1)
        self.fids: U64 = np.empty(_FIRST_ENTRIES, dtype=np.uint64)
        self.kinds: U8 = np.empty(_FIRST_ENTRIES, dtype=np.uint8)
        self.last_seen_s: U32 = np.empty(_FIRST_ENTRIES, dtype=np.uint32)
        self.weights: F32 = np.empty(_FIRST_ENTRIES * width, dtype=np.float32)
        self.state: F32 = np.empty(_FIRST_ENTRIES * state_width, dtype=np.float32)

    def __len__(self) -> int:
        return self._n

    def absorb(self, change: TableDelta) -> None:
        """Take a later block's removals, then its rows. Raises ShapeError."""
        if self.width and (change.weights.shape[1], change.state.shape[1]) != (
            self.width,
            self.state_width,
        ):
            raise ShapeError(
                f"rows of {change.weights.shape[1]} weights and {change.state.shape[1]} floats of "
                f"state among rows of {self.width} and {self.state_width}"
            )
        self._grouped = None
        self._make_room(change.fids.size + change.removed.size)
        self._n = int(
            merge.absorb(
                self._index,
                self.fids,
                self.kinds,
                self.last_seen_s,
                self.weights,
                self.state,
                self._n,
                self.width,
                self.state_width,
                _for_reading(change.removed),
                _for_reading(change.fids),
                _for_reading(change.last_seen_s),
                _for_reading(change.weights).reshape(-1),
                _for_reading(change.state).reshape(-1),
                self.first_bucket,
                self.end_bucket,
            )
        )

    def by_bucket(self) -> tuple[I64, I64]:
        """order: int64[n], entries grouped by bucket; starts: int64[1025], where each one's begin."""
        if self._grouped is not None:
            return self._grouped
        order = np.empty(self._n, dtype=np.int64)
        starts = np.zeros(BUCKETS + 2, dtype=np.int64)
        every_bucket = np.arange(BUCKETS, dtype=np.uint16)
        grouped = np.empty(self._n, dtype=np.uint64)
        group_by_shard(self.fids[: self._n], every_bucket, order, grouped, starts)
        self._grouped = order, starts[: BUCKETS + 1]
        return self._grouped

    def merged(self) -> TableDelta:
        """The changes as one: rows, and of the removals those that stayed removed."""
        n = self._n
        gone = self.kinds[:n] == merge.REMOVED
        rows: slice | npt.NDArray[np.bool_] = ~gone if gone.any() else slice(0, n)
        return TableDelta(
            fids=self.fids[:n][rows],
            last_seen_s=self.last_seen_s[:n][rows],
            weights=self.weights[: n * self.width].reshape(n, self.width)[rows],
            state=self.state[: n * self.state_width].reshape(n, self.state_width)[rows],
            removed=self.fids[:n][gone],
        )

    def _make_room(self, more: int) -> None:
        needed = self._n + more
        if needed > _MAX_ENTRIES:
            raise ShapeError(f"{needed:,} changes of one table at once; give a smaller range")
        if needed <= self.fids.size:
            return
        # Pages that are never written cost nothing, so growing by halves is cheap.
        size = max(needed, self.fids.size * 3 // 2)
        for name, width in (
            ("fids", 1),
            ("kinds", 1),
            ("last_seen_s", 1),
            ("weights", self.width),
            ("state", self.state_width),
        ):
            old = getattr(self, name)
            new = np.empty(size * width, dtype=old.dtype)
            new[: self._n * width] = old[: self._n * width]
            setattr(self, name, new)
        if self._index.size < 2 * size:
            self._index = new_index(size)
            merge.fill_index(self._index, self.fids, self._n)


def new_index(entries: int, memory: I32 | None = None) -> I32:
    """An index, unwritten, that stays at most half full with so many entries; in the beginning of
    memory where that is large enough.
    """
    size = 1 << max(1, (2 * entries - 1).bit_length())
    if memory is not None and size <= memory.size:
        return memory[:size]
    return np.empty(size, dtype=np.int32)


def entry_bytes(width: int, state_width: int) -> int:
    """About what one change costs in memory."""
    return 8 + 1 + 4 + 4 * (width + state_width) + _INDEX_BYTES_PER_ENTRY


def _for_reading(array: A) -> A:
    """The array contiguous and read-only, uncopied where it can be.

    To numba a read-only array is a type of its own; this way there is one for all that blocks hold.
    """
    flat = np.ascontiguousarray(array).view()
    flat.flags.writeable = False
    return flat  # type: ignore[return-value]
