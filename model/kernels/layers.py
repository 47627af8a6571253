"""The elementwise parts of dense layers, each fused into one pass over memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ps.kernels.jit import kernel

if TYPE_CHECKING:
    from ps.arrays import F32


@kernel
def bias_relu(h: F32, bias: F32) -> None:
    """h = max(h + bias, 0) in place. h: float32[n, k], bias: float32[k]."""
    for i in range(h.shape[0]):
        for j in range(h.shape[1]):
            h[i, j] = max(h[i, j] + bias[j], np.float32(0))


@kernel
def relu_gradient(h: F32, dh: F32, dbias: F32) -> None:
    """dh = 0 where the output h is 0, in place; dbias (float32[k]) = the column sums of that."""
    for j in range(h.shape[1]):
        dbias[j] = np.float32(0)
    for i in range(h.shape[0]):
        for j in range(h.shape[1]):
            g = dh[i, j] if h[i, j] > np.float32(0) else np.float32(0)
            dh[i, j] = g
            dbias[j] += g


@kernel
def cross(x0: F32, x: F32, z: F32, bias: F32, out: F32) -> None:
    """One DCN-v2 cross layer: z += bias in place, out = x0 * z + x. All float32[n, D]."""
    for i in range(x0.shape[0]):
        for j in range(x0.shape[1]):
            z[i, j] += bias[j]
            out[i, j] = x0[i, j] * z[i, j] + x[i, j]


@kernel
def cross_gradient(x0: F32, z: F32, dout: F32, dx0: F32, dz: F32, dbias: F32) -> None:
    """The derivative of cross: dx0 += dout * z, dz = dout * x0, dbias = column sums of dz."""
    for j in range(x0.shape[1]):
        dbias[j] = np.float32(0)
    for i in range(x0.shape[0]):
        for j in range(x0.shape[1]):
            dx0[i, j] += dout[i, j] * z[i, j]
            g = dout[i, j] * x0[i, j]
            dz[i, j] = g
            dbias[j] += g
