"""From unique rows to one vector per example and feature, and the gradients back again.

A row is [linear weight, if lead is 1 | vector]. Offsets are those of a FidColumn; a pooled feature
of no values is a vector of zeros. The scatter adds occurrence by occurrence in the order of the
batch, so the same batch gives the same bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ps.kernels.jit import kernel

if TYPE_CHECKING:
    from ps.arrays import F32, I64


@kernel
def gather(rows: F32, inverse: I64, lead: int, linear: F32, out: F32, column: int) -> None:
    """linear[i] += the row's weight; out[i, column:column + dim] = the row's vector.

    rows: float32[u, lead + dim]. inverse: int64[n]. linear: float32[n]. out: float32[n, D].
    """
    dim = rows.shape[1] - lead
    for i in range(len(inverse)):
        row = inverse[i]
        if lead:
            linear[i] += rows[row, 0]
        for d in range(dim):
            out[i, column + d] = rows[row, lead + d]


@kernel
def gather_pooled(
    rows: F32,
    inverse: I64,
    offsets: I64,
    mean: bool,
    lead: int,
    linear: F32,
    out: F32,
    column: int,
) -> None:
    """Like gather, for offsets[i + 1] - offsets[i] rows summed, or averaged, into example i.

    inverse: int64[m]. offsets: int64[n + 1].
    """
    dim = rows.shape[1] - lead
    for i in range(len(offsets) - 1):
        begin, end = offsets[i], offsets[i + 1]
        for d in range(dim):
            out[i, column + d] = np.float32(0)
        if begin == end:
            continue
        scale = np.float32(1.0 / (end - begin)) if mean else np.float32(1)
        weight = np.float32(0)
        for k in range(begin, end):
            row = inverse[k]
            if lead:
                weight += rows[row, 0]
            for d in range(dim):
                out[i, column + d] += rows[row, lead + d]
        linear[i] += scale * weight
        if mean:
            for d in range(dim):
                out[i, column + d] *= scale


@kernel
def scatter(dlinear: F32, dvectors: F32, column: int, inverse: I64, lead: int, grads: F32) -> None:
    """The derivative of gather: grads (float32[u, lead + dim]) += each occurrence's gradient."""
    dim = grads.shape[1] - lead
    for i in range(len(inverse)):
        row = inverse[i]
        if lead:
            grads[row, 0] += dlinear[i]
        for d in range(dim):
            grads[row, lead + d] += dvectors[i, column + d]


@kernel
def scatter_pooled(
    dlinear: F32,
    dvectors: F32,
    column: int,
    inverse: I64,
    offsets: I64,
    mean: bool,
    lead: int,
    grads: F32,
) -> None:
    """The derivative of gather_pooled."""
    dim = grads.shape[1] - lead
    for i in range(len(offsets) - 1):
        begin, end = offsets[i], offsets[i + 1]
        if begin == end:
            continue
        scale = np.float32(1.0 / (end - begin)) if mean else np.float32(1)
        for k in range(begin, end):
            row = inverse[k]
            if lead:
                grads[row, 0] += scale * dlinear[i]
            for d in range(dim):
                grads[row, lead + d] += scale * dvectors[i, column + d]
