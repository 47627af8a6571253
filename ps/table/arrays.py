"""What a table hands to its kernels: reserved memory, scratch, and arrays of the one right kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from ps.block import TableDelta
from ps.errors import ShapeError
from ps.kernels import index, lookup
from ps.kernels.layout import CUT_WIDTH, ReadArrays, RowLayout, TableArrays
from ps.table.memory import reserve
from ps.table.recycling import LEAST_BYTES

if TYPE_CHECKING:
    from ps.arrays import I64, U64
    from ps.table.recycling import RecycledMemory

A = TypeVar("A", bound=npt.NDArray[Any])

_WORD_BYTES = 4


def reserve_arrays(stride: int, capacity_rows: int) -> TableArrays:
    """The memory of an empty table: rows of `stride` words, index, counters and touched map."""
    rows_memory = reserve(capacity_rows * stride * _WORD_BYTES)
    index_bytes, stash_at = index.index_bytes(capacity_rows)
    index_memory = reserve(index_bytes)
    counters: I64 = np.zeros(index.COUNTERS, dtype=np.int64)
    counters[index.N_LINES] = index.FIRST_LINES
    counters[index.LOW_MASK] = index.FIRST_LINES - 1
    counters[index.STASH_AT] = stash_at
    counters[index.FREE_HEAD] = -1
    return TableArrays(
        words=rows_memory.view(np.float32),
        meta=rows_memory.view(np.uint32),
        keys=rows_memory.view(np.uint64),
        tags=index_memory.view(np.uint16),
        rows=index_memory.view(np.uint32),
        counters=counters,
        touched=reserve(capacity_rows // 8 + 8, huge_pages=False).view(np.uint64),
        cut=reserve((capacity_rows // 64 + 1) * 8 * CUT_WIDTH, huge_pages=False).view(np.uint64),
        out_fids=np.empty(0, dtype=np.uint64),
        out_seen_s=np.empty(0, dtype=np.uint32),
        out_weights=np.empty(0, dtype=np.float32),
        out_state=np.empty(0, dtype=np.float32),
    )


def for_reading(arrays: TableArrays) -> ReadArrays:
    """The same memory, without what only writers need."""
    return ReadArrays(
        words=arrays.words,
        meta=arrays.meta,
        keys=arrays.keys,
        tags=arrays.tags,
        rows=arrays.rows,
        counters=arrays.counters,
    )


def with_room(
    arrays: TableArrays, rows: int, layout: RowLayout, memory: RecycledMemory | None = None
) -> TableArrays:
    """The same memory, with columns of its own to copy so many rows to; memory: where to get them."""
    sizes = (8 * rows, 4 * rows * layout.width, 4 * rows * layout.state_width, 4 * rows)
    if memory is None or sum(sizes) < LEAST_BYTES:
        fids, weights, state, seen_s = (np.empty(size, dtype=np.uint8) for size in sizes)
    else:
        fids, weights, state, seen_s, _ = np.split(memory.lend(sum(sizes)), np.cumsum(sizes))
    return arrays._replace(
        out_fids=fids.view(np.uint64),
        out_seen_s=seen_s.view(np.uint32),
        out_weights=weights.view(np.float32),
        out_state=state.view(np.float32),
    )


def columns(arrays: TableArrays, layout: RowLayout, removed: U64) -> TableDelta:
    """The rows copied out, as a block holds them; nobody may write them from now on."""
    rows = arrays.out_fids.size
    change = TableDelta(
        fids=arrays.out_fids,
        last_seen_s=arrays.out_seen_s,
        weights=arrays.out_weights.reshape(rows, layout.width),
        state=arrays.out_state.reshape(rows, layout.state_width),
        removed=removed,
    )
    for array in (change.fids, change.last_seen_s, change.weights, change.state, removed):
        array.setflags(write=False)
    return change


def scratch() -> tuple[U64, I64]:
    """What one call of a batched kernel works in; its own, so that pulls may run side by side."""
    return np.empty(lookup.RING, dtype=np.uint64), np.empty(lookup.FOUND, dtype=np.int64)


def as_fids(fids: U64) -> U64:
    """fids as kernels take them, to be read: uint64[n], contiguous. Raises ShapeError."""
    if fids.dtype != np.uint64 or fids.ndim != 1:
        raise ShapeError(f"fids must be uint64[n], not {fids.dtype}{list(fids.shape)}")
    return for_kernel(fids)


def for_kernel(array: A) -> A:
    """The array, for kernels that only read it: copied where it is strided or unaligned.

    To numba those are types of their own, and so is a read-only array; each would compile every
    kernel once more. What is read-only but in order is not copied: the kernel gets the same memory
    under another name, which keeps the array alive.
    """
    if not array.flags.carray:
        array = cast("A", np.require(array, requirements=("C", "A")))
        if not array.flags.writeable:
            return cast("A", np.asarray(_Lent(array)))
    return array


class _Lent:
    """Passes a read-only array on without its mark; numpy keeps this, and this keeps the array."""

    __slots__ = ("__array_interface__", "_owner")

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._owner = array
        address, _ = array.__array_interface__["data"]
        self.__array_interface__ = {**array.__array_interface__, "data": (address, False)}
