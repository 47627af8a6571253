"""What a table's slots ask for, as kernels read it: rate, time to live, admission, initial values."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ps.arrays import F32, F64, I64, U8, U16, U64, Int
from ps.kernels.intrinsics import load
from ps.kernels.jit import inlined
from ps.kernels.layout import HasRows, RowLayout

# A time to live that is never over; a last_seen_s can be added to it.
NEVER_S = 1 << 62

_SLOT_SHIFT = np.uint64(48)


class SlotPolicies(NamedTuple):
    """Settings of one table and of its slots.

    slot_policy: uint8[65536], a slot's place in ttl_s (int64[k], NEVER_S for none) and hyper
    (float32[k * HYPER_WIDTH]). expires: 1 where any of ttl_s is not NEVER_S, else 0. The admit_
    arrays are those of ps.admission.AdmissionFilter.
    """

    slot_policy: U8
    ttl_s: I64
    expires: Int
    hyper: F32
    optimizer_kind: Int
    init_kind: Int
    leading_zeros: Int
    init_scale: np.float32
    seed: np.uint64
    admit_slot_policy: U8
    admit_policies: F64
    admit_cells: U8
    admit_wide_cells: U16
    admit_periods: I64
    admit_clock: I64
    admit_changed: U64


@inlined
def policy_of(policies: SlotPolicies, fid: np.uint64) -> Int:
    """The place of the fid's slot in ttl_s and hyper."""
    return np.int64(load(policies.slot_policy, np.int64(fid >> _SLOT_SHIFT)))


@inlined
def is_overdue(
    t: HasRows,
    layout: RowLayout,
    policies: SlotPolicies,
    row: Int,
    fid: np.uint64,
    clock_s: Int,
) -> bool:
    """Whether fid's row has not been seen for its time to live: it is as if it were not there."""
    if not policies.expires:
        return False
    seen_s = np.int64(load(t.meta, row * layout.stride + layout.last_seen_at))
    return bool(seen_s + load(policies.ttl_s, policy_of(policies, fid)) < clock_s)
