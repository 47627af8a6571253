"""Logistic regression one example at a time: each sees the updates of all before it.

McMahan et al. 2013, Algorithm 1, with any of the row optimizers in place of FTRL-Proximal. Lookup,
prediction and update are one pass: row numbers are kept from reading to writing.
"""

from __future__ import annotations

import math

import numpy as np

from ps.arrays import F32, I64, U64, Int
from ps.kernels.expire import living_row
from ps.kernels.hashing import mix64
from ps.kernels.index import CLOCK_S, EVICTED, find
from ps.kernels.intrinsics import load, store
from ps.kernels.jit import inlined, kernel
from ps.kernels.layout import RowLayout, TableArrays
from ps.kernels.lookup import GROUP, STAGES, advance, verified_row
from ps.kernels.optimize import apply_gradient, ftrl_step
from ps.kernels.policy import SlotPolicies, is_overdue
from ps.kernels.push import admitted_row, update_row
from ps.kernels.rows import touch

_ONE = np.float32(1.0)
_ZERO = np.float32(0.0)


@inlined
def _sigmoid(logit: np.float32) -> np.float32:
    """1 / (1 + exp(-logit)) without overflow."""
    small = np.float32(math.exp(-abs(logit)))
    return np.float32((_ONE if logit >= _ZERO else small) / (_ONE + small))


@inlined
def _ftrl_rows(
    t: TableArrays,
    layout: RowLayout,
    policies: SlotPolicies,
    rows: I64,
    n: Int,
    error: np.float32,
    now_s: Int,
    epoch: np.uint32,
    columns: F32,
) -> None:
    """One FTRL step on n different rows with one gradient, as update_row does to each.

    Through columns (float32[3 * n] or more) of weights, z and n, where the step is done eight or
    sixteen rows at a time: square roots and divisions are most of what learning costs.
    """
    for i in range(n):
        at = load(rows, i) * layout.stride
        store(columns, i, load(t.words, at + layout.weights_at))
        store(columns, n + i, load(t.words, at + layout.state_at))
        store(columns, 2 * n + i, load(t.words, at + layout.state_at + 1))
    for i in range(n):
        weight, z, squares = ftrl_step(
            load(columns, i),
            load(columns, n + i),
            load(columns, 2 * n + i),
            error,
            policies.hyper,
            0,
        )
        store(columns, i, weight)
        store(columns, n + i, z)
        store(columns, 2 * n + i, squares)
    for i in range(n):
        row = load(rows, i)
        at = row * layout.stride
        touch(t, layout, row, epoch)
        seen = load(t.meta, at + layout.last_seen_at)
        store(t.meta, at + layout.last_seen_at, np.uint32(max(np.int64(seen), now_s)))
        store(t.words, at + layout.weights_at, load(columns, i))
        store(t.words, at + layout.state_at, load(columns, n + i))
        store(t.words, at + layout.state_at + 1, load(columns, 2 * n + i))


@kernel
def learn_logistic(
    t: TableArrays,
    layout: RowLayout,
    policies: SlotPolicies,
    fids: U64,
    offsets: I64,
    values: F32,
    inputs: F32,
    labels: F32,
    dense_words: F32,
    dense_kind: Int,
    dense_hyper: F32,
    dense_grads: F32,
    now_s: Int,
    salt: np.uint64,
    epoch: np.uint32,
    capacity_rows: Int,
    removed: U64,
    mixed: U64,
    found: I64,
    rows: I64,
    columns: F32,
    distinct: bool,
    probabilities: F32,
) -> None:
    """Predict, then learn, example by example; probabilities (float32[n]) are from before learning.

    fids: uint64[m], the examples' one after another, example i at offsets[i]:offsets[i + 1].
    values: float32[m], or empty where all are 1. inputs: float32[n * k] dense inputs.
    dense_words: bias, k weights, then their optimizer state; dense_grads: float32[1 + k], scratch.
    rows: int64[longest example], columns: float32[3 * longest], scratch. distinct: no example has a
    fid twice, values are all 1, and one FTRL-Proximal serves all slots: examples then take a faster
    path to the same bits. removed has room for 2 * m more fids.
    """
    n = labels.shape[0]
    k = dense_grads.shape[0] - 1
    weighted = values.shape[0] > 0
    n_fids = fids.shape[0]
    groups = (n_fids + GROUP - 1) // GROUP
    key_stride = layout.stride // 2
    clock_s = load(t.counters, CLOCK_S)
    step = 0
    ready = np.int64(0)
    grad = dense_grads[:1]
    for example in range(n):
        begin, end = load(offsets, example), load(offsets, example + 1)
        evicted = t.counters[EVICTED]
        n_rows = np.int64(0)
        logit = load(dense_words, 0)
        for j in range(k):
            logit += load(dense_words, 1 + j) * load(inputs, example * k + j)
        for i in range(begin, end):
            while i >= ready:
                advance(t, layout.stride, layout.stride, fids, step, groups, mixed, found)
                step += 1
                ready = np.int64(max(0, step - STAGES + 1)) * GROUP
            row = verified_row(t, key_stride, fids, i, mixed, found)
            fid = load(fids, i)
            if row < 0 or is_overdue(t, layout, policies, row, fid, clock_s):
                bits = mix64(fid)
                # An earlier example may have made it since its group was looked up.
                row = living_row(t, layout, policies, fid, bits, removed)
                if row < 0:
                    # A new row weighs nothing yet, so making it now does not touch the prediction.
                    row = admitted_row(
                        t,
                        layout,
                        policies,
                        fid,
                        bits,
                        1,
                        now_s,
                        salt + np.uint64(example),
                        capacity_rows,
                        removed,
                    )
                    if row >= 0:
                        # Readers learn of it even if nothing is learned in it.
                        touch(t, layout, row, epoch)
            store(rows, n_rows, row)
            # Side by side only the rows that are there; else one for every fid.
            n_rows += row >= 0 or not distinct
            if row >= 0:
                weight = load(t.words, row * layout.stride + layout.weights_at)
                logit += weight * load(values, i) if weighted else weight
        probability = _sigmoid(logit)
        store(probabilities, example, probability)

        if probability != probability:
            # Infinite logits of both signs met: a NaN teaches nothing and must reach no row.
            continue
        error = probability - load(labels, example)
        one_by_one = not distinct
        if t.counters[EVICTED] != evicted:
            # Some row may have gone to make room for a later fid of the same example.
            one_by_one = True
            for i in range(begin, end):
                fid = load(fids, i)
                store(rows, i - begin, find(t, key_stride, fid, mix64(fid)))
        if not one_by_one:
            _ftrl_rows(t, layout, policies, rows, n_rows, error, now_s, epoch, columns)
        for i in range(begin, end if one_by_one else begin):
            row = load(rows, i - begin)
            if row >= 0:
                store(grad, 0, error * load(values, i) if weighted else error)
                update_row(t, layout, policies, row, load(fids, i), grad, 0, now_s, epoch)
        store(dense_grads, 0, error)
        for j in range(k):
            store(dense_grads, 1 + j, error * load(inputs, example * k + j))
        apply_gradient(dense_kind, dense_words, 0, 1 + k, 1 + k, dense_grads, 0, dense_hyper, 0)
