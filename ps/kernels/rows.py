"""Rows one at a time: taking one, freeing one, marking one as touched, copying one out."""

from __future__ import annotations

import numpy as np

from ps.arrays import Int
from ps.kernels.index import FREE_HEAD, NEXT_ROW, PENDING, insert, remove
from ps.kernels.intrinsics import copy_16_floats, count_bits, load, store
from ps.kernels.jit import inlined, seldom
from ps.kernels.layout import CUT_WIDTH, FREE_EPOCH, FROZEN, PLACE, WAITING, RowLayout, TableArrays

_BITS = 6  # log2 of the bits in a word of the touched map
_BIT_MASK = 63
_NONE = np.uint64(0)
_ONE = np.uint64(1)


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
def copy_out(t: TableArrays, layout: RowLayout, row: Int, place: Int) -> None:
    """Copy a row to a place of the columns."""
    base = row * layout.stride
    width, state_width = layout.width, layout.state_width
    store(t.out_fids, place, load(t.keys, row * (layout.stride // 2)))
    store(t.out_seen_s, place, load(t.meta, base + layout.last_seen_at))
    copy_floats(t.out_weights, place * width, t.words, base + layout.weights_at, width)
    copy_floats(t.out_state, place * state_width, t.words, base + layout.state_at, state_width)


@inlined
def place_in_cut(t: TableArrays, row: Int) -> Int:
    """Where among the columns a row of the cut goes."""
    at = (row >> _BITS) * CUT_WIDTH
    before = (_ONE << np.uint64(row & _BIT_MASK)) - _ONE
    place: Int = np.int64(load(t.cut, at + PLACE))
    return place + np.int64(count_bits(load(t.cut, at + FROZEN) & before))


@seldom
def _copy_if_waiting(t: TableArrays, layout: RowLayout, row: Int) -> None:
    at = (row >> _BITS) * CUT_WIDTH + WAITING
    bit = _ONE << np.uint64(row & _BIT_MASK)
    waiting = load(t.cut, at)
    if waiting & bit != _NONE:
        copy_out(t, layout, row, place_in_cut(t, row))
        store(t.cut, at, waiting ^ bit)
        t.counters[PENDING] -= 1


@inlined
def save_row(t: TableArrays, layout: RowLayout, row: Int) -> None:
    """Before a row changes or goes: copy it out, if it is of the cut and has not been copied."""
    if load(t.counters, PENDING) > 0:
        _copy_if_waiting(t, layout, row)


@inlined
def is_live(t: TableArrays, layout: RowLayout, row: Int) -> bool:
    """Whether a row that has been used holds a key now."""
    return bool(load(t.meta, row * layout.stride + layout.epoch_at) != FREE_EPOCH)


@inlined
def touch(t: TableArrays, layout: RowLayout, row: Int, epoch: np.uint32) -> None:
    """Mark a row that is about to change in this epoch; the map is written once a row and epoch."""
    at = row * layout.stride + layout.epoch_at
    if load(t.meta, at) != epoch:
        save_row(t, layout, row)
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
        save_row(t, layout, row)
        store(t.keys, row * key_stride, np.uint64(t.counters[FREE_HEAD]))
        t.counters[FREE_HEAD] = row
        store(t.meta, row * layout.stride + layout.epoch_at, FREE_EPOCH)
        word = row >> _BITS
        bit = np.uint64(1) << np.uint64(row & _BIT_MASK)
        store(t.touched, word, load(t.touched, word) & ~bit)
    return row
