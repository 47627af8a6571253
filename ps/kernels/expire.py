"""Leaving: rows not seen for their slot's time to live, and the longest unseen when room is needed."""

from __future__ import annotations

import numpy as np

from ps.arrays import U64, Bool, Int
from ps.kernels.hashing import mix64
from ps.kernels.index import NEXT_ROW
from ps.kernels.intrinsics import load, store
from ps.kernels.jit import inlined, kernel
from ps.kernels.layout import RowLayout, TableArrays
from ps.kernels.policy import NEVER_S, SlotPolicies, policy_of
from ps.kernels.rows import free_row, is_live

# Live rows compared for one eviction: the longest unseen of 32 is, on average, among the oldest 3 %.
_EVICTION_SAMPLE = 32


@kernel
def expire(
    t: TableArrays,
    layout: RowLayout,
    policies: SlotPolicies,
    hand: Int,
    budget_rows: Int,
    now_s: Int,
    removed: U64,
    n_removed: Int,
) -> tuple[Int, Int]:
    """Look at budget_rows rows from `hand` on, around the end; free those whose time is over.

    Appends their fids to removed from n_removed on. Returns (hand, n_removed).
    """
    used = t.counters[NEXT_ROW]
    for _ in range(min(budget_rows, used)):
        if hand >= used:
            hand = 0
        if is_live(t, layout, hand):
            fid = load(t.keys, hand * (layout.stride // 2))
            ttl_s = load(policies.ttl_s, policy_of(policies, fid))
            seen_s = np.int64(load(t.meta, hand * layout.stride + layout.last_seen_at))
            if ttl_s != NEVER_S and seen_s + ttl_s < now_s:
                free_row(t, layout, fid, mix64(fid))
                store(removed, n_removed, fid)
                n_removed += 1
        hand += 1
    return hand, n_removed


@inlined
def _longest_unseen(t: TableArrays, layout: RowLayout, hand: Int) -> tuple[Int, Int]:
    """(row, hand): of the next live rows from hand on, the one not seen for longest."""
    used = t.counters[NEXT_ROW]
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
    return oldest_row, hand


@kernel
def evict(
    t: TableArrays, layout: RowLayout, hand: Int, count: Int, removed: U64, n_removed: Int
) -> tuple[Int, Int]:
    """Free `count` rows, each the longest unseen of a sample. Returns (hand, n_removed)."""
    for _ in range(count):
        row, hand = _longest_unseen(t, layout, hand)
        if row < 0:
            break
        fid = load(t.keys, row * (layout.stride // 2))
        free_row(t, layout, fid, mix64(fid))
        store(removed, n_removed, fid)
        n_removed += 1
    return hand, n_removed


@kernel
def remove_rows(t: TableArrays, layout: RowLayout, fids: U64, gone: Bool) -> Int:
    """Free the rows of fids; the count of those that had one. gone: bool[n]."""
    n_removed: Int = 0
    for i in range(fids.shape[0]):
        fid = load(fids, i)
        row = free_row(t, layout, fid, mix64(fid))
        gone[i] = row >= 0
        n_removed += row >= 0
    return n_removed
