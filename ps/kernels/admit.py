"""Who gets a row: each slot's admission policy, decided inside the kernel that inserts.

slot_policy: uint8[65536], the policy of every slot, 0 meaning that all are admitted; only the lines
of slots in use are ever touched. policies: float64[2 * n], kind and parameter of each policy.
cells, wide_cells, periods, clock, changed: the counting sketch (ps.kernels.sketch).
"""

from __future__ import annotations

import math

import numpy as np

from ps.arrays import Int
from ps.kernels.hashing import mix64
from ps.kernels.intrinsics import load
from ps.kernels.jit import inlined
from ps.kernels.sketch import SEED, sketch_add

ADMIT_ALL = 0
ADMIT_AFTER = 1  # parameter: occurrences
ADMIT_WITH_PROBABILITY = 2  # parameter: probability of one occurrence

_SLOT_SHIFT = np.uint64(48)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_SHIFT_11 = np.uint64(11)


@inlined
def has_admission(fid: np.uint64, slot_policy: np.ndarray) -> bool:
    """Whether the fid's slot turns some fids away; then a fid without a row reads as zeros."""
    return bool(load(slot_policy, np.int64(fid >> _SLOT_SHIFT)) != ADMIT_ALL)


@inlined
def poisson_admits(
    seed: np.uint64, fid: np.uint64, salt: np.uint64, count: Int, probability: np.float64
) -> bool:
    """Admit with probability 1 - (1 - p)^count, drawn by a hash: the same call decides the same.

    salt tells one occurrence of a fid from another; derive it from the stream position.
    """
    bits = mix64(mix64(mix64(seed + _GOLDEN) ^ fid) + (salt + np.uint64(1)) * _GOLDEN)
    drawn = np.float64(np.int64(bits >> _SHIFT_11)) * 2.0**-53
    if count == 1:
        return bool(drawn < probability)
    return bool(drawn < -math.expm1(np.float64(count) * math.log1p(-probability)))


@inlined
def admits(
    fid: np.uint64,
    count: Int,
    salt: np.uint64,
    slot_policy: np.ndarray,
    policies: np.ndarray,
    cells: np.ndarray,
    wide_cells: np.ndarray,
    periods: np.ndarray,
    clock: np.ndarray,
    changed: np.ndarray,
) -> bool:
    """Count `count` >= 1 occurrences of a fid that has no row, and decide whether it gets one."""
    policy = np.int64(load(slot_policy, np.int64(fid >> _SLOT_SHIFT)))
    if policy == ADMIT_ALL:
        return True
    parameter = load(policies, 2 * policy + 1)
    if load(policies, 2 * policy) == ADMIT_AFTER:
        return bool(sketch_add(fid, count, cells, wide_cells, periods, clock, changed) >= parameter)
    return poisson_admits(np.uint64(load(clock, SEED)), fid, salt, count, parameter)
