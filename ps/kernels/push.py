"""Push: apply summed gradients to rows, and create the rows that are now admitted."""

from __future__ import annotations

import numpy as np

from ps.arrays import F32, I64, U32, U64, Int
from ps.kernels.admit import admits
from ps.kernels.hashing import mix64
from ps.kernels.index import LIVE, find
from ps.kernels.initialize import init_weights
from ps.kernels.intrinsics import load, store
from ps.kernels.jit import inlined, kernel
from ps.kernels.layout import WEIGHTS_AT, RowLayout, TableArrays
from ps.kernels.lookup import GROUP, STAGES, advance, verified_row
from ps.kernels.optimize import HYPER_WIDTH, apply_gradient, init_state
from ps.kernels.policy import SlotPolicies, policy_of
from ps.kernels.rows import take_row, touch

# What push_missing reports: rows made, occurrences refused by admission, where it stopped.
CREATED = 0
REFUSED = 1
STOPPED_AT = 2


@kernel
def all_within(values: F32, limit: np.float32) -> bool:
    """Whether every |value| <= limit; False for any NaN or infinity. values: float32[n]."""
    outside = 0
    for i in range(values.shape[0]):
        outside += not abs(load(values, i)) <= limit
    return outside == 0


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
        at + WEIGHTS_AT,
        at + layout.state_at,
        layout.width,
        grads,
        grad_at,
        policies.hyper,
        policy_of(policies, fid) * HYPER_WIDTH,
    )


@inlined
def create_row(
    t: TableArrays, layout: RowLayout, policies: SlotPolicies, fid: np.uint64, mixed: np.uint64
) -> Int:
    """A row for a fid that has none, with its initial weights and state."""
    row = take_row(t, layout, fid, mixed)
    at = row * layout.stride
    init_weights(
        policies.init_kind,
        t.words,
        at + WEIGHTS_AT,
        layout.width,
        policies.leading_zeros,
        policies.init_scale,
        policies.seed,
        fid,
    )
    init_state(
        policies.optimizer_kind,
        t.words,
        at + WEIGHTS_AT,
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

    fids: uint64[n], unique. grads: float32[n * width]. missing: int64[n]. Returns how many.
    """
    n = fids.shape[0]
    groups = (n + GROUP - 1) // GROUP
    n_missing = 0
    for group in range(groups + STAGES - 1):
        advance(t, layout.stride, fids, group, groups, mixed, found)
        if group < STAGES - 1:
            continue
        begin = (group - STAGES + 1) * GROUP
        for i in range(begin, min(n, begin + GROUP)):
            row = verified_row(t, layout.stride // 2, fids, i, mixed, found)
            if row >= 0:
                fid = load(fids, i)
                update_row(t, layout, policies, row, fid, grads, i * layout.width, now_s, epoch)
            else:
                store(missing, n_missing, np.int64(i))
                n_missing += 1
    return n_missing


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
    begin: Int,
    end: Int,
    capacity_rows: Int,
    report: I64,
) -> None:
    """Count the fids missing[begin:end] stand for; make and update rows for those now admitted.

    Stops before a row that capacity_rows has no room for. report: int64[3], see the constants;
    CREATED and REFUSED are added to.
    """
    for at in range(begin, end):
        if t.counters[LIVE] >= capacity_rows:
            report[STOPPED_AT] = at
            return
        i = load(missing, at)
        fid = load(fids, i)
        mixed = mix64(fid)
        count = np.int64(load(counts, i))
        row = find(t, layout.stride // 2, fid, mixed)
        if row < 0:
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
            ):
                report[REFUSED] += count
                continue
            row = create_row(t, layout, policies, fid, mixed)
            report[CREATED] += 1
        update_row(t, layout, policies, row, fid, grads, i * layout.width, now_s, epoch)
    report[STOPPED_AT] = end
