"""Pull: the weights of many fids, without a side effect."""

from __future__ import annotations

import numpy as np

from ps.arrays import F32, I64, U64, Int
from ps.kernels.admit import has_admission
from ps.kernels.index import CLOCK_S
from ps.kernels.initialize import init_weights
from ps.kernels.intrinsics import load, store
from ps.kernels.jit import kernel
from ps.kernels.layout import ReadArrays, RowLayout
from ps.kernels.lookup import GROUP, STAGES, advance, verified_row
from ps.kernels.policy import SlotPolicies, is_overdue
from ps.kernels.rows import copy_floats


@kernel
def pull(
    t: ReadArrays,
    layout: RowLayout,
    policies: SlotPolicies,
    fids: U64,
    out: F32,
    mixed: U64,
    found: I64,
) -> Int:
    """Write each fid's weights to out (float32[n * width]); the number of fids without a row.

    One without a row, or whose row is overdue, reads as its initial value, or as zeros where its slot has admission.
    """
    n = fids.shape[0]
    groups = (n + GROUP - 1) // GROUP
    width = layout.width
    clock_s = load(t.counters, CLOCK_S)
    missing = 0
    for group in range(groups + STAGES - 1):
        advance(t, layout.stride, layout.weights_at + width, fids, group, groups, mixed, found)
        if group < STAGES - 1:
            continue
        begin = (group - STAGES + 1) * GROUP
        for i in range(begin, min(n, begin + GROUP)):
            row = verified_row(t, layout.stride // 2, fids, i, mixed, found)
            fid = load(fids, i)
            if row >= 0 and not is_overdue(t, layout, policies, row, fid, clock_s):
                copy_floats(out, i * width, t.words, row * layout.stride + layout.weights_at, width)
                continue
            missing += 1
            if has_admission(fid, policies.admit_slot_policy):
                for column in range(width):
                    store(out, i * width + column, np.float32(0.0))
            else:
                init_weights(
                    policies.init_kind,
                    out,
                    i * width,
                    width,
                    policies.leading_zeros,
                    policies.init_scale,
                    policies.seed,
                    fid,
                )
    return missing
