"""Changes of many blocks gathered by fid, and laid over the rows of a base.

A set of changes is one entry a fid, the newest: its kind and, where it has a row, the row. It is
found through an open-addressing index of entry numbers, -1 where there is none. Entry numbers are
32 bits wide.
"""

from __future__ import annotations

import numpy as np

from ps.arrays import F32, I32, I64, U8, U32, U64, Int
from ps.kernels.hashing import mix64
from ps.kernels.intrinsics import load, prefetch_line, store
from ps.kernels.jit import inlined, kernel
from ps.kernels.routing import bucket_of_fid
from ps.kernels.rows import copy_floats

REMOVED = np.uint8(0)
ROW = np.uint8(1)
PLACED = np.uint8(2)  # a row that has taken the place of an older one

_LINE_FLOATS = 16
_AHEAD = 12  # rows asked for before they are copied: about what memory has under way at a time


@inlined
def _entry_of(index: np.ndarray, fids: np.ndarray, fid: np.uint64) -> np.int64:
    """The slot of the index that holds fid's entry, or the empty one where it belongs."""
    mask = index.shape[0] - 1
    slot = np.int64(mix64(fid)) & mask
    entry = np.int64(load(index, slot))
    while entry >= 0 and load(fids, entry) != fid:
        slot = (slot + 1) & mask
        entry = np.int64(load(index, slot))
    return np.int64(slot)


@kernel
def fill_index(index: I32, fids: U64, n: Int) -> None:
    """Make the index of the first n entries, whose fids differ; its size is a power of two > n."""
    for slot in range(index.shape[0]):
        store(index, slot, np.int32(-1))
    for entry in range(n):
        store(index, _entry_of(index, fids, load(fids, entry)), np.int32(entry))


@kernel
def absorb(
    index: I32,
    fids: U64,
    kinds: U8,
    last_seen_s: U32,
    weights: F32,
    state: F32,
    n: Int,
    width: Int,
    state_width: Int,
    removed: U64,
    new_fids: U64,
    new_last_seen_s: U32,
    new_weights: F32,
    new_state: F32,
    first_bucket: Int,
    end_bucket: Int,
) -> Int:
    """Take one block's removals, then its rows, of buckets [first_bucket, end_bucket) into a set.

    The set: kinds uint8[c], fids uint64[c], last_seen_s uint32[c], weights float32[c * width], state
    float32[c * state_width], of which n are in use and as many more as the block has are free;
    the index has room for them. Returns how many are in use then.
    """
    for i in range(removed.shape[0]):
        fid = load(removed, i)
        bucket = bucket_of_fid(fid)
        if bucket < first_bucket or bucket >= end_bucket:
            continue
        slot = _entry_of(index, fids, fid)
        entry: Int = np.int64(load(index, slot))
        if entry < 0:
            entry = n
            n += 1
            store(index, slot, np.int32(entry))
            store(fids, entry, fid)
        store(kinds, entry, REMOVED)
    for i in range(new_fids.shape[0]):
        fid = load(new_fids, i)
        bucket = bucket_of_fid(fid)
        if bucket < first_bucket or bucket >= end_bucket:
            continue
        slot = _entry_of(index, fids, fid)
        entry = np.int64(load(index, slot))
        if entry < 0:
            entry = n
            n += 1
            store(index, slot, np.int32(entry))
            store(fids, entry, fid)
        store(kinds, entry, ROW)
        store(last_seen_s, entry, load(new_last_seen_s, i))
        copy_floats(weights, entry * width, new_weights, i * width, width)
        copy_floats(state, entry * state_width, new_state, i * state_width, state_width)
    return n


@inlined
def _prefetch_row(
    weights: np.ndarray, state: np.ndarray, entry: Int, width: Int, state_width: Int
) -> None:
    """Ask for the lines of an entry's row."""
    for at in range(0, width, _LINE_FLOATS):
        prefetch_line(weights, entry * width + at)
    for at in range(0, state_width, _LINE_FLOATS):
        prefetch_line(state, entry * state_width + at)


@kernel
def overlay(
    index: I32,
    matched_rows: I64,
    matched: I64,
    changed_fids: U64,
    kinds: U8,
    changed_last_seen_s: U32,
    changed_weights: F32,
    changed_state: F32,
    order: I64,
    begin: Int,
    end: Int,
    width: Int,
    state_width: Int,
    fids: U64,
    last_seen_s: U32,
    weights: F32,
    state: F32,
) -> Int:
    """Lay entries order[begin:end] of a set over base rows, in place; how many rows are left.

    Rows that were removed give their place to the last one. Entries whose row took an older one's
    place become PLACED. Work space: index, its size a power of two > end - begin; matched_rows and
    matched, int64[end - begin].
    """
    for empty in range(index.shape[0]):
        store(index, empty, np.int32(-1))
    for i in range(begin, end):
        entry = load(order, i)
        slot = _entry_of(index, changed_fids, load(changed_fids, entry))
        store(index, slot, np.int32(entry))

    n: Int = fids.shape[0]
    n_matched = np.int64(0)
    for at in range(n):
        slot = _entry_of(index, changed_fids, load(fids, at))
        entry = np.int64(load(index, slot))
        if entry >= 0:
            store(matched_rows, n_matched, np.int64(at))
            store(matched, n_matched, entry)
            n_matched += 1

    for i in range(n_matched):
        if i + _AHEAD < n_matched:
            _prefetch_row(
                changed_weights, changed_state, load(matched, i + _AHEAD), width, state_width
            )
        entry = load(matched, i)
        if load(kinds, entry) == ROW:
            row = load(matched_rows, i)
            store(kinds, entry, PLACED)
            store(last_seen_s, row, load(changed_last_seen_s, entry))
            copy_floats(weights, row * width, changed_weights, entry * width, width)
            copy_floats(state, row * state_width, changed_state, entry * state_width, state_width)

    # From the last to the first, so that what takes a removed row's place is none itself.
    for back in range(n_matched):
        last = n_matched - 1 - back
        if load(kinds, load(matched, last)) == REMOVED:
            row = load(matched_rows, last)
            n -= 1
            store(fids, row, load(fids, n))
            store(last_seen_s, row, load(last_seen_s, n))
            copy_floats(weights, row * width, weights, n * width, width)
            copy_floats(state, row * state_width, state, n * state_width, state_width)
    return n


@kernel
def gather_new(
    changed_fids: U64,
    kinds: U8,
    changed_last_seen_s: U32,
    changed_weights: F32,
    changed_state: F32,
    order: I64,
    begin: Int,
    end: Int,
    width: Int,
    state_width: Int,
    fids: U64,
    last_seen_s: U32,
    weights: F32,
    state: F32,
) -> Int:
    """Copy the rows among entries order[begin:end] that took no older one's place; how many."""
    n: Int = np.int64(0)
    for i in range(begin, end):
        entry = load(order, i)
        if load(kinds, entry) != ROW:
            continue
        store(fids, n, load(changed_fids, entry))
        store(last_seen_s, n, load(changed_last_seen_s, entry))
        copy_floats(weights, n * width, changed_weights, entry * width, width)
        copy_floats(state, n * state_width, changed_state, entry * state_width, state_width)
        n += 1
    return n
