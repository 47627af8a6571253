"""Rows one at a time: taking one, freeing one, marking one as touched."""

from __future__ import annotations

import numpy as np

from ps.arrays import Int
from ps.kernels.index import FREE_HEAD, NEXT_ROW, insert, remove
from ps.kernels.intrinsics import copy_16_floats, load, store
from ps.kernels.jit import inlined
from ps.kernels.layout import FREE_EPOCH, RowLayout, TableArrays

_BITS = 6  # log2 of the bits in a word of the touched map
_BIT_MASK = 63


@inlined
def copy_floats(
    target: np.ndarray, target_at: Int, source: np.ndarray, source_at: Int, n: Int
) -> None:
    """target[target_at:+n] = source[source_at:+n], float32, 64 bytes at a time."""
    done = np.int64(0)
    while done + 16 <= n:
        copy_16_floats(target, target_at + done, source, source_at + done)
        done += 16
    while done < n:
        store(target, target_at + done, load(source, source_at + done))
        done += 1


@inlined
def is_live(t: TableArrays, layout: RowLayout, row: Int) -> bool:
    """Whether a row that has been used holds a key now."""
    return bool(load(t.meta, row * layout.stride + layout.epoch_at) != FREE_EPOCH)


@inlined
def touch(t: TableArrays, layout: RowLayout, row: Int, epoch: np.uint32) -> None:
    """Mark a row as changed in this epoch; the map is written once per row and epoch."""
    at = row * layout.stride + layout.epoch_at
    if load(t.meta, at) != epoch:
        store(t.meta, at, epoch)
        word = row >> _BITS
        bit = np.uint64(1) << np.uint64(row & _BIT_MASK)
        store(t.touched, word, load(t.touched, word) | bit)


@inlined
def take_row(t: TableArrays, layout: RowLayout, fid: np.uint64, mixed: np.uint64) -> Int:
    """Give fid, which has none, a row: a freed one if there is, else the next. Enters it in the index.

    Weights, state and last_seen_s are the caller's to write; the row counts as not touched yet.
    """
    row: Int = t.counters[FREE_HEAD]
    key_stride = layout.stride // 2
    if row >= 0:
        t.counters[FREE_HEAD] = np.int64(load(t.keys, row * key_stride))
    else:
        row = t.counters[NEXT_ROW]
        t.counters[NEXT_ROW] = row + 1
    store(t.keys, row * key_stride, fid)
    # Any epoch but the current one, so that touch() sees a change.
    store(t.meta, row * layout.stride + layout.epoch_at, np.uint32(0))
    store(t.meta, row * layout.stride + layout.last_seen_at, np.uint32(0))
    insert(t, key_stride, mixed, row)
    return row


@inlined
def free_row(t: TableArrays, layout: RowLayout, fid: np.uint64, mixed: np.uint64) -> Int:
    """Take fid's row away, for the next key to use; the row, or -1 where fid has none."""
    key_stride = layout.stride // 2
    row = remove(t, key_stride, fid, mixed)
    if row >= 0:
        store(t.keys, row * key_stride, np.uint64(t.counters[FREE_HEAD]))
        t.counters[FREE_HEAD] = row
        store(t.meta, row * layout.stride + layout.epoch_at, FREE_EPOCH)
        word = row >> _BITS
        bit = np.uint64(1) << np.uint64(row & _BIT_MASK)
        store(t.touched, word, load(t.touched, word) & ~bit)
    return row
