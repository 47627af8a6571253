"""Leaving: rows not seen for their slot's time to live, and the longest unseen when room is needed."""

from __future__ import annotations

import numpy as np

from ps.arrays import U64, Int
from ps.kernels.hashing import mix64
from ps.kernels.index import EVICTED, EXPIRED, HAND, NEXT_ROW, REMOVED
from ps.kernels.intrinsics import load, store
from ps.kernels.jit import inlined, kernel
from ps.kernels.layout import RowLayout, TableArrays
from ps.kernels.policy import NEVER_S, SlotPolicies, policy_of
from ps.kernels.rows import free_row, is_live

# Live rows compared for one eviction: the longest unseen of 32 is, on average, among the oldest 3 %.
_EVICTION_SAMPLE = 32


@inlined
def _free(t: TableArrays, layout: RowLayout, row: Int, removed: U64) -> None:
    fid = load(t.keys, row * (layout.stride // 2))
    free_row(t, layout, fid, mix64(fid))
    store(removed, t.counters[REMOVED], fid)
    t.counters[REMOVED] += 1


@kernel
def expire(
    t: TableArrays,
    layout: RowLayout,
    policies: SlotPolicies,
    budget_rows: Int,
    now_s: Int,
    removed: U64,
) -> None:
    """Look at budget_rows rows from the hand on, around the end; free those whose time is over.

    Their fids are appended to removed, which has room for budget_rows more.
    """
    used = t.counters[NEXT_ROW]
    hand = t.counters[HAND]
    for _ in range(min(budget_rows, used)):
        if hand >= used:
            hand = 0
        if is_live(t, layout, hand):
            fid = load(t.keys, hand * (layout.stride // 2))
            ttl_s = load(policies.ttl_s, policy_of(policies, fid))
            seen_s = np.int64(load(t.meta, hand * layout.stride + layout.last_seen_at))
            if ttl_s != NEVER_S and seen_s + ttl_s < now_s:
                _free(t, layout, hand, removed)
                t.counters[EXPIRED] += 1
        hand += 1
    t.counters[HAND] = hand


@inlined
def evict_one(t: TableArrays, layout: RowLayout, removed: U64) -> None:
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
        _free(t, layout, oldest_row, removed)
        t.counters[EVICTED] += 1


@kernel
def remove_rows(t: TableArrays, layout: RowLayout, fids: U64, removed: U64) -> None:
    """Free the rows of those fids (uint64[n]) that have one; removed has room for all."""
    for i in range(fids.shape[0]):
        fid = load(fids, i)
        if free_row(t, layout, fid, mix64(fid)) >= 0:
            store(removed, t.counters[REMOVED], fid)
            t.counters[REMOVED] += 1
