"""Leaving: rows not seen for their slot's time to live, and the longest unseen when room is needed.

A row is overdue by the table's clock alone, and then as good as gone: it reads as missing, and a
push takes it away. The hand goes round to give back what nobody asks for.
"""

from __future__ import annotations

import numpy as np

from ps.arrays import U64, Int
from ps.kernels.hashing import mix64
from ps.kernels.index import CLOCK_S, EVICTED, EXPIRED, HAND, NEXT_ROW, REMOVED, find
from ps.kernels.intrinsics import load, store
from ps.kernels.jit import inlined, kernel
from ps.kernels.layout import RowLayout, TableArrays
from ps.kernels.policy import SlotPolicies, is_overdue
from ps.kernels.rows import free_row, is_live

# Live rows compared for one eviction: the longest unseen of 32 is, on average, among the oldest 3 %.
_EVICTION_SAMPLE = 32


@inlined
def _free(
    t: TableArrays, layout: RowLayout, fid: np.uint64, mixed: np.uint64, removed: U64
) -> None:
    free_row(t, layout, fid, mixed)
    store(removed, t.counters[REMOVED], fid)
    t.counters[REMOVED] += 1


@inlined
def living_row(
    t: TableArrays,
    layout: RowLayout,
    policies: SlotPolicies,
    fid: np.uint64,
    mixed: np.uint64,
    removed: U64,
) -> Int:
    """The row of fid, or -1 where it has none; one that is overdue is freed. For single keys."""
    row = find(t, layout.stride // 2, fid, mixed)
    if row >= 0 and is_overdue(t, layout, policies, row, fid, t.counters[CLOCK_S]):
        _free(t, layout, fid, mixed, removed)
        t.counters[EXPIRED] += 1
        row = np.int64(-1)
    return row


@kernel
def expire(
    t: TableArrays, layout: RowLayout, policies: SlotPolicies, budget_rows: Int, removed: U64
) -> None:
    """Look at budget_rows rows from the hand on, around the end; free those that are overdue.

    Their fids are appended to removed, which has room for budget_rows more.
    """
    used = t.counters[NEXT_ROW]
    hand = t.counters[HAND]
    clock_s = t.counters[CLOCK_S]
    for _ in range(min(budget_rows, used)):
        if hand >= used:
            hand = 0
        if is_live(t, layout, hand):
            fid = load(t.keys, hand * (layout.stride // 2))
            if is_overdue(t, layout, policies, hand, fid, clock_s):
                _free(t, layout, fid, mix64(fid), removed)
                t.counters[EXPIRED] += 1
        hand += 1
    t.counters[HAND] = hand


@kernel
def count_overdue(t: TableArrays, layout: RowLayout, policies: SlotPolicies, clock_s: Int) -> Int:
    """How many rows are overdue at clock_s."""
    overdue = 0
    for row in range(t.counters[NEXT_ROW]):
        if is_live(t, layout, row):
            fid = load(t.keys, row * (layout.stride // 2))
            overdue += is_overdue(t, layout, policies, row, fid, clock_s)
    return overdue


@inlined
def evict_one(t: TableArrays, layout: RowLayout, policies: SlotPolicies, removed: U64) -> None:
    """Free the longest unseen of a sample of rows; removed has room for its fid."""
    used = t.counters[NEXT_ROW]
    hand = t.counters[HAND]
    oldest_row = np.int64(-1)
    oldest_s = np.int64(0)
    compared = 0
    for _ in range(used):
        if hand >= used:
            hand = 0
        if is_live(t, layout, hand):
            seen_s = np.int64(load(t.meta, hand * layout.stride + layout.last_seen_at))
            if oldest_row < 0 or seen_s < oldest_s:
                oldest_row, oldest_s = np.int64(hand), seen_s
            compared += 1
        hand += 1
        if compared == _EVICTION_SAMPLE:
            break
    t.counters[HAND] = hand
    if oldest_row >= 0:
        fid = load(t.keys, oldest_row * (layout.stride // 2))
        overdue = is_overdue(t, layout, policies, oldest_row, fid, t.counters[CLOCK_S])
        t.counters[EXPIRED if overdue else EVICTED] += 1
        _free(t, layout, fid, mix64(fid), removed)


@kernel
def remove_rows(t: TableArrays, layout: RowLayout, fids: U64, removed: U64) -> None:
    """Free the rows of those fids (uint64[n]) that have one; removed has room for all."""
    for i in range(fids.shape[0]):
        fid = load(fids, i)
        if free_row(t, layout, fid, mix64(fid)) >= 0:
            store(removed, t.counters[REMOVED], fid)
            t.counters[REMOVED] += 1
