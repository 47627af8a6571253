"""Push: apply summed gradients to rows, and create the rows that are now admitted."""

from __future__ import annotations

import numpy as np

from ps.arrays import F32, I64, U32, U64, Int
from ps.kernels.admit import admits
from ps.kernels.expire import evict_one, living_row
from ps.kernels.hashing import mix64
from ps.kernels.index import ADMITTED, CLOCK_S, LIVE, REFUSED
from ps.kernels.initialize import init_weights
from ps.kernels.intrinsics import load, store
from ps.kernels.jit import inlined, kernel
from ps.kernels.layout import RowLayout, TableArrays
from ps.kernels.lookup import GROUP, STAGES, advance, verified_row
from ps.kernels.optimize import HYPER_WIDTH, apply_gradient, init_state
from ps.kernels.policy import SlotPolicies, is_overdue, policy_of
from ps.kernels.rows import take_row, touch


@inlined
def update_row(
    t: TableArrays,
    layout: RowLayout,
    policies: SlotPolicies,
    row: Int,
    fid: np.uint64,
    grads: F32,
    grad_at: Int,
    now_s: Int,
    epoch: np.uint32,
) -> None:
    """One optimizer step on one row, which is marked as seen and touched."""
    at = row * layout.stride
    touch(t, layout, row, epoch)
    seen = load(t.meta, at + layout.last_seen_at)
    store(t.meta, at + layout.last_seen_at, np.uint32(max(np.int64(seen), now_s)))
    apply_gradient(
        policies.optimizer_kind,
        t.words,
        at + layout.weights_at,
        at + layout.state_at,
        layout.width,
        grads,
        grad_at,
        policies.hyper,
        policy_of(policies, fid) * HYPER_WIDTH,
    )


@inlined
def create_row(
    t: TableArrays,
    layout: RowLayout,
    policies: SlotPolicies,
    fid: np.uint64,
    mixed: np.uint64,
    now_s: Int,
) -> Int:
    """A row for a fid that has none, with its initial weights and state, seen now."""
    row = take_row(t, layout, fid, mixed)
    at = row * layout.stride
    store(t.meta, at + layout.last_seen_at, np.uint32(max(now_s, 0)))
    init_weights(
        policies.init_kind,
        t.words,
        at + layout.weights_at,
        layout.width,
        policies.leading_zeros,
        policies.init_scale,
        policies.seed,
        fid,
    )
    init_state(
        policies.optimizer_kind,
        t.words,
        at + layout.weights_at,
        at + layout.state_at,
        layout.width,
        policies.hyper,
        policy_of(policies, fid) * HYPER_WIDTH,
    )
    return row


@kernel
def push_found(
    t: TableArrays,
    layout: RowLayout,
    policies: SlotPolicies,
    fids: U64,
    grads: F32,
    now_s: Int,
    epoch: np.uint32,
    mixed: U64,
    found: I64,
    missing: I64,
) -> Int:
    """Update the rows of the fids that have one; list the indices of the others in missing.

    Those whose rows are overdue are listed too.     fids: uint64[n], unique. grads: float32[n * width]. missing: int64[n]. Returns how many.
    """
    n = fids.shape[0]
    groups = (n + GROUP - 1) // GROUP
    n_missing = 0
    clock_s = load(t.counters, CLOCK_S)
    for group in range(groups + STAGES - 1):
        advance(t, layout.stride, layout.stride, fids, group, groups, mixed, found)
        if group < STAGES - 1:
            continue
        begin = (group - STAGES + 1) * GROUP
        for i in range(begin, min(n, begin + GROUP)):
            row = verified_row(t, layout.stride // 2, fids, i, mixed, found)
            fid = load(fids, i)
            if row >= 0 and not is_overdue(t, layout, policies, row, fid, clock_s):
                update_row(t, layout, policies, row, fid, grads, i * layout.width, now_s, epoch)
            else:
                store(missing, n_missing, np.int64(i))
                n_missing += 1
    return n_missing


@inlined
def admitted_row(
    t: TableArrays,
    layout: RowLayout,
    policies: SlotPolicies,
    fid: np.uint64,
    mixed: np.uint64,
    count: Int,
    now_s: Int,
    salt: np.uint64,
    capacity_rows: Int,
    removed: U64,
) -> Int:
    """A new row for a fid that has none, or -1 where admission turns it away.

    At capacity a row is evicted first; tables that may not evict have been checked for room.
    """
    if not admits(
        fid,
        count,
        salt,
        policies.admit_slot_policy,
        policies.admit_policies,
        policies.admit_cells,
        policies.admit_wide_cells,
        policies.admit_periods,
        policies.admit_clock,
        policies.admit_changed,
    ):
        t.counters[REFUSED] += count
        return -1
    if t.counters[LIVE] >= capacity_rows:
        evict_one(t, layout, policies, removed)
    t.counters[ADMITTED] += 1
    return create_row(t, layout, policies, fid, mixed, now_s)


@kernel
def push_missing(
    t: TableArrays,
    layout: RowLayout,
    policies: SlotPolicies,
    fids: U64,
    grads: F32,
    counts: U32,
    now_s: Int,
    salt: np.uint64,
    epoch: np.uint32,
    missing: I64,
    n_missing: Int,
    capacity_rows: Int,
    removed: U64,
) -> None:
    """Count the fids that missing[:n_missing] stands for; make and update rows for those admitted.

    removed has room for 2 * n_missing more fids: one may be overdue, and one go to make room.
    """
    for at in range(n_missing):
        i = load(missing, at)
        fid = load(fids, i)
        mixed = mix64(fid)
        # Missing or overdue a moment ago; it has a row by now if it came twice.
        row = living_row(t, layout, policies, fid, mixed, removed)
        if row < 0:
            count = np.int64(load(counts, i))
            row = admitted_row(
                t, layout, policies, fid, mixed, count, now_s, salt, capacity_rows, removed
            )
        if row >= 0:
            update_row(t, layout, policies, row, fid, grads, i * layout.width, now_s, epoch)
