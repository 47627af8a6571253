"""Second-order interactions of a factorisation machine (Rendle 2010, lemma 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ps.kernels.jit import kernel

if TYPE_CHECKING:
    from ps.arrays import F32


@kernel
def second_order(x: F32, fields: int, dim: int, sums: F32, logits: F32) -> None:
    """logits[i] += sum over pairs of fields of <v_f, v_g> = (|sum v|^2 - sum |v|^2) / 2.

    x: float32[n, >= fields * dim], field f at columns f * dim. sums: float32[n, dim], set.
    """
    for i in range(len(logits)):
        squares = np.float32(0)
        for d in range(dim):
            sums[i, d] = np.float32(0)
        for f in range(fields):
            for d in range(dim):
                v = x[i, f * dim + d]
                sums[i, d] += v
                squares += v * v
        total = np.float32(0)
        for d in range(dim):
            total += sums[i, d] * sums[i, d]
        logits[i] += np.float32(0.5) * (total - squares)


@kernel
def second_order_gradient(
    dlogits: F32, x: F32, sums: F32, fields: int, dim: int, accumulate: bool, dx: F32
) -> None:
    """dx[i, f, :] = (or += if accumulate) dlogits[i] * (sums[i] - x[i, f, :])."""
    for i in range(len(dlogits)):
        g = dlogits[i]
        for f in range(fields):
            for d in range(dim):
                at = f * dim + d
                step = g * (sums[i, d] - x[i, at])
                if accumulate:
                    dx[i, at] += step
                else:
                    dx[i, at] = step
