"""The optimizers as their papers write them: float64, one coordinate or one row at a time.

Independent of ps.kernels.optimize: no shared code, no packed hyperparameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ps.arrays import F64
from ps.optimizers import (
    AdaGrad,
    Adam,
    FtrlProximal,
    GroupLassoFtrl,
    Momentum,
    Optimizer,
    RowwiseAdaGrad,
    Sgd,
)

Step = Callable[[F64], F64]


def sgd(spec: Sgd, start: F64) -> Step:
    w = start.copy()

    def step(g: F64) -> F64:
        w[:] = w - spec.learning_rate * g
        return w

    return step


def momentum(spec: Momentum, start: F64) -> Step:
    """Sutskever et al. 2013, as in PyTorch's SGD with dampening 0."""
    w, v = start.copy(), np.zeros_like(start)

    def step(g: F64) -> F64:
        v[:] = spec.momentum * v + g
        w[:] = w - spec.learning_rate * (g + spec.momentum * v if spec.nesterov else v)
        return w

    return step


def adagrad(spec: AdaGrad, start: F64) -> Step:
    """Duchi, Hazan and Singer 2011, section 1.1, diagonal G_t."""
    w, a = start.copy(), np.full_like(start, spec.initial_accumulator)

    def step(g: F64) -> F64:
        a[:] = a + g**2
        w[:] = w - spec.learning_rate * g / (np.sqrt(a) + spec.epsilon)
        return w

    return step


def rowwise_adagrad(spec: RowwiseAdaGrad, start: F64) -> Step:
    """Mudigere et al. 2022, section 4.1.4: one moment a row, the mean of squares."""
    w, a = start.copy(), spec.initial_accumulator

    def step(g: F64) -> F64:
        nonlocal a
        a += float(np.mean(g**2))
        w[:] = w - spec.learning_rate * g / (math.sqrt(a) + spec.epsilon)
        return w

    return step


def adam(spec: Adam, start: F64) -> Step:
    """Kingma and Ba 2015, Algorithm 1."""
    w, m, v = start.copy(), np.zeros_like(start), np.zeros_like(start)
    t = 0

    def step(g: F64) -> F64:
        nonlocal t
        t += 1
        m[:] = spec.beta1 * m + (1 - spec.beta1) * g
        v[:] = spec.beta2 * v + (1 - spec.beta2) * g**2
        m_hat = m / (1 - spec.beta1**t)
        v_hat = v / (1 - spec.beta2**t)
        w[:] = w - spec.learning_rate * m_hat / (np.sqrt(v_hat) + spec.epsilon)
        return w

    return step


def ftrl(spec: FtrlProximal, start: F64) -> Step:
    """McMahan et al. 2013, Algorithm 1, coordinate by coordinate.

    The regulariser of weight beta / alpha, there centred at 0, is centred at the start.
    """
    w, n = start.copy(), np.zeros_like(start)
    z = -spec.beta / spec.alpha * start

    def step(g: F64) -> F64:
        for i in range(len(w)):
            sigma = (math.sqrt(n[i] + g[i] ** 2) - math.sqrt(n[i])) / spec.alpha
            z[i] += g[i] - sigma * w[i]
            n[i] += g[i] ** 2
            if abs(z[i]) <= spec.l1:
                w[i] = 0.0
            else:
                curvature = (spec.beta + math.sqrt(n[i])) / spec.alpha + spec.l2
                w[i] = -(z[i] - math.copysign(spec.l1, z[i])) / curvature
        return w

    return step


def group_lasso_ftrl(spec: GroupLassoFtrl, start: F64) -> Step:
    """Yue et al. 2021, the Group AdaGrad update, with z and n accumulated as in McMahan's."""
    w, n = start.copy(), np.zeros_like(start)
    z = -spec.beta / spec.alpha * start

    def step(g: F64) -> F64:
        sigma = (np.sqrt(n + g**2) - np.sqrt(n)) / spec.alpha
        z[:] = z + g - sigma * w
        n[:] = n + g**2
        s = np.where(np.abs(z) <= spec.l1, 0.0, spec.l1 * np.sign(z) - z)
        norm, bar = float(np.linalg.norm(s)), math.sqrt(len(w)) * spec.group_l21
        kept = 0.0 if norm <= bar else 1.0 - bar / norm
        w[:] = kept * s / ((spec.beta + np.sqrt(n)) / spec.alpha + spec.l2)
        return w

    return step


def reference(spec: Optimizer, start: F64) -> Step:
    """A function that takes gradients one after the other and returns the weights."""
    match spec:
        case Sgd():
            return sgd(spec, start)
        case Momentum():
            return momentum(spec, start)
        case AdaGrad():
            return adagrad(spec, start)
        case RowwiseAdaGrad():
            return rowwise_adagrad(spec, start)
        case Adam():
            return adam(spec, start)
        case FtrlProximal():
            return ftrl(spec, start)
        case GroupLassoFtrl():
            return group_lasso_ftrl(spec, start)
    raise AssertionError(f"no reference for {spec}")
