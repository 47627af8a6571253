"""Rows in bulk: which there are, and others put in as they are."""

from __future__ import annotations

import numpy as np

from ps.arrays import F32, I64, U32, U64, Bool, Int
from ps.kernels.hashing import mix64
from ps.kernels.index import (
    CLOCK_S,
    NEXT_ROW,
    REMOVED,
    TAGS_PER_LINE,
    find,
    first_line,
    second_line,
)
from ps.kernels.intrinsics import count_bits, load, prefetch_line, store
from ps.kernels.jit import inlined, kernel
from ps.kernels.layout import ReadArrays, RowLayout, TableArrays
from ps.kernels.lookup import GROUP, RING, STAGES, advance, verified_row
from ps.kernels.policy import SlotPolicies, is_overdue
from ps.kernels.rows import copy_floats, is_live, take_row, touch

_ONE = np.uint64(1)


@kernel
def mark_live(
    t: TableArrays, layout: RowLayout, policies: SlotPolicies, clock_s: Int, marks: U64
) -> Int:
    """Set the bit of every row that holds a key in marks, zeroed uint64[>= rows / 64]; how many.

    Rows that are overdue at clock_s are left out; at 0 none is.
    """
    live = 0
    for row in range(t.counters[NEXT_ROW]):
        if is_live(t, layout, row) and not is_overdue(
            t, layout, policies, row, load(t.keys, row * (layout.stride // 2)), clock_s
        ):
            word = row >> 6
            store(marks, word, load(marks, word) | (_ONE << np.uint64(row & 63)))
            live += 1
    return live


@kernel
def count_marks(marks: U64, n_words: Int) -> Int:
    """Set bits in the first n_words of marks."""
    total = np.int64(0)
    for i in range(n_words):
        total += count_bits(load(marks, i))
    return total


@inlined
def _write_row(
    t: TableArrays,
    layout: RowLayout,
    row: Int,
    i: Int,
    last_seen_s: U32,
    weights: F32,
    state: F32,
    has_state: bool,
) -> None:
    """Row `row` becomes the i-th of the arrays."""
    base = row * layout.stride
    store(t.meta, base + layout.last_seen_at, load(last_seen_s, i))
    copy_floats(t.words, base + layout.weights_at, weights, i * layout.width, layout.width)
    if has_state:
        copy_floats(
            t.words,
            base + layout.state_at,
            state,
            i * layout.state_width,
            layout.state_width,
        )


@kernel
def upsert(
    t: TableArrays,
    layout: RowLayout,
    fids: U64,
    last_seen_s: U32,
    weights: F32,
    state: F32,
    epoch: np.uint32,
    mark: bool,
    mixed: U64,
    found: I64,
) -> Int:
    """Write whole rows, making those that are missing; how many were made.

    fids: uint64[n]. With an empty state the rows' state is left as it is (a replica has none).
    mark: whether they count as changed in this epoch.
    """
    n = fids.shape[0]
    groups = (n + GROUP - 1) // GROUP
    has_state = state.shape[0] > 0
    made = 0
    for group in range(groups + STAGES - 1):
        advance(t, layout.stride, layout.stride, fids, group, groups, mixed, found)
        if group < STAGES - 1:
            continue
        begin = (group - STAGES + 1) * GROUP
        for i in range(begin, min(n, begin + GROUP)):
            row = verified_row(t, layout.stride // 2, fids, i, mixed, found)
            fid = load(fids, i)
            if row < 0:
                bits = mix64(fid)
                # Missing some groups ago; by now it has a row if it came twice.
                row = find(t, layout.stride // 2, fid, bits)
                if row < 0:
                    row = take_row(t, layout, fid, bits)
                    made += 1
            if mark:
                touch(t, layout, row, epoch)
            _write_row(t, layout, row, i, last_seen_s, weights, state, has_state)
    return made


@kernel
def load_new(
    t: TableArrays,
    layout: RowLayout,
    fids: U64,
    last_seen_s: U32,
    weights: F32,
    state: F32,
    mixed: U64,
) -> None:
    """Write whole rows of fids that have none (uint64[n], unique), without looking them up.

    They do not count as changed. mixed: uint64[RING], scratch. An empty state is as in upsert.
    """
    n = fids.shape[0]
    has_state = state.shape[0] > 0
    for begin in range(-GROUP, n, GROUP):
        # Ask for the lines of the next group, then enter this one.
        for i in range(begin + GROUP, min(n, begin + 2 * GROUP)):
            bits = mix64(load(fids, i))
            store(mixed, i % RING, bits)
            prefetch_line(t.tags, first_line(bits, t) * TAGS_PER_LINE)
            prefetch_line(t.tags, second_line(bits, t) * TAGS_PER_LINE)
        for i in range(max(begin, 0), min(n, begin + GROUP)):
            row = take_row(t, layout, load(fids, i), load(mixed, i % RING))
            _write_row(t, layout, row, i, last_seen_s, weights, state, has_state)


@kernel
def mark_changed(
    t: TableArrays, layout: RowLayout, fids: U64, epoch: np.uint32, removed: U64
) -> None:
    """Count fids as changed in this epoch: as touched where they have a row, else as removed.

    removed has room for all.
    """
    for i in range(fids.shape[0]):
        fid = load(fids, i)
        row = find(t, layout.stride // 2, fid, mix64(fid))
        if row >= 0:
            touch(t, layout, row, epoch)
        else:
            store(removed, t.counters[REMOVED], fid)
            t.counters[REMOVED] += 1


@kernel
def contains(
    t: ReadArrays,
    layout: RowLayout,
    policies: SlotPolicies,
    fids: U64,
    clock_s: Int,
    present: Bool,
) -> None:
    """present[i] = whether fids[i] has a row that is not overdue at clock_s."""
    for i in range(fids.shape[0]):
        fid = load(fids, i)
        row = find(t, layout.stride // 2, fid, mix64(fid))
        present[i] = row >= 0 and not is_overdue(t, layout, policies, row, fid, clock_s)


@kernel
def row_of(t: ReadArrays, layout: RowLayout, policies: SlotPolicies, fid: np.uint64) -> Int:
    """The row number of one fid, or -1 where it has none or is overdue."""
    row = find(t, layout.stride // 2, fid, mix64(fid))
    if row >= 0 and is_overdue(t, layout, policies, row, fid, load(t.counters, CLOCK_S)):
        return np.int64(-1)
    return row
