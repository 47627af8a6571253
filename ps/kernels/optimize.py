"""Row update rules: one function for every optimizer, and one that chooses among them.

All of them see flat float32 memory. words holds the table: a row's weights are
words[w_at:w_at + width] and its state begins at words[s_at]. Its gradient is
grads[g_at:g_at + width], its hyperparameters hyper[h_at:h_at + HYPER_WIDTH], packed by the
optimizer's spec (ps.optimizers). Everything is float32 in a fixed order, so a row's future depends
on its past alone. With |gradient| <= 1e15 and hyperparameters the specs accept, no step yields NaN.
"""

from __future__ import annotations

import math

import numpy as np

from ps.arrays import Int
from ps.kernels.intrinsics import load, store
from ps.kernels.jit import inlined

SGD = 0
MOMENTUM = 1
ADAGRAD = 2
ROWWISE_ADAGRAD = 3
ADAM = 4
FTRL_PROXIMAL = 5
GROUP_LASSO_FTRL = 6

HYPER_WIDTH = 8  # packed hyperparameters of a row; Adam fills them all

_ZERO = np.float32(0.0)
_ONE = np.float32(1.0)
# Sums of squares stop here: beyond it lies inf, and inf - inf is NaN.
_LARGEST = np.finfo(np.float32).max
# Keeps a quotient of vanishing numbers at 0 instead of 0 / 0.
_TINY = np.finfo(np.float32).tiny
# float32 counts exactly up to here; by then every bias correction is 1.
_LAST_STEP = np.float32(2**24)


@inlined
def _sum_of_squares(values: np.ndarray, at: Int, width: Int) -> np.float32:
    """Sum of values[at:at + width] squared, in eight lanes: an order that is fixed and vectorises."""
    a = b = c = d = e = f = g = h = _ZERO
    whole = width - width % 8
    for i in range(at, at + whole, 8):
        a += load(values, i) * load(values, i)
        b += load(values, i + 1) * load(values, i + 1)
        c += load(values, i + 2) * load(values, i + 2)
        d += load(values, i + 3) * load(values, i + 3)
        e += load(values, i + 4) * load(values, i + 4)
        f += load(values, i + 5) * load(values, i + 5)
        g += load(values, i + 6) * load(values, i + 6)
        h += load(values, i + 7) * load(values, i + 7)
    total = ((a + e) + (c + g)) + ((b + f) + (d + h))
    for i in range(at + whole, at + width):
        total += load(values, i) * load(values, i)
    return total


@inlined
def _sgd(
    words: np.ndarray,
    w_at: Int,
    width: Int,
    grads: np.ndarray,
    g_at: Int,
    hyper: np.ndarray,
    h_at: Int,
) -> None:
    rate = load(hyper, h_at)
    for i in range(width):
        store(words, w_at + i, load(words, w_at + i) - rate * load(grads, g_at + i))


@inlined
def _momentum(
    words: np.ndarray,
    w_at: Int,
    s_at: Int,
    width: Int,
    grads: np.ndarray,
    g_at: Int,
    hyper: np.ndarray,
    h_at: Int,
) -> None:
    rate = load(hyper, h_at)
    momentum = load(hyper, h_at + 1)
    nesterov = load(hyper, h_at + 2) != _ZERO
    for i in range(width):
        gradient = load(grads, g_at + i)
        velocity = momentum * load(words, s_at + i) + gradient
        store(words, s_at + i, velocity)
        step = gradient + momentum * velocity if nesterov else velocity
        store(words, w_at + i, load(words, w_at + i) - rate * step)


@inlined
def _adagrad(
    words: np.ndarray,
    w_at: Int,
    s_at: Int,
    width: Int,
    grads: np.ndarray,
    g_at: Int,
    hyper: np.ndarray,
    h_at: Int,
) -> None:
    rate = load(hyper, h_at)
    epsilon = load(hyper, h_at + 2)
    for i in range(width):
        gradient = load(grads, g_at + i)
        squares = min(load(words, s_at + i) + gradient * gradient, _LARGEST)
        store(words, s_at + i, squares)
        step = rate * gradient / (math.sqrt(squares) + epsilon)
        store(words, w_at + i, load(words, w_at + i) - step)


@inlined
def _rowwise_adagrad(
    words: np.ndarray,
    w_at: Int,
    s_at: Int,
    width: Int,
    grads: np.ndarray,
    g_at: Int,
    hyper: np.ndarray,
    h_at: Int,
) -> None:
    mean = _sum_of_squares(grads, g_at, width) / np.float32(width)
    squares = min(load(words, s_at) + mean, _LARGEST)
    store(words, s_at, squares)
    rate = load(hyper, h_at)
    scale = math.sqrt(squares) + load(hyper, h_at + 2)
    for i in range(width):
        step = rate * load(grads, g_at + i) / scale
        store(words, w_at + i, load(words, w_at + i) - step)


@inlined
def _adam(
    words: np.ndarray,
    w_at: Int,
    s_at: Int,
    width: Int,
    grads: np.ndarray,
    g_at: Int,
    hyper: np.ndarray,
    h_at: Int,
) -> None:
    """State: first moments, second moments, then the row's own number of updates."""
    v_at = s_at + width
    step_at = v_at + width
    step = min(load(words, step_at) + _ONE, _LAST_STEP)
    store(words, step_at, step)
    rate = load(hyper, h_at)
    beta1 = load(hyper, h_at + 1)
    beta2 = load(hyper, h_at + 2)
    epsilon = load(hyper, h_at + 3)
    rest1 = load(hyper, h_at + 4)  # 1 - beta1, rounded once
    rest2 = load(hyper, h_at + 5)
    # 1 - beta^step from log(beta): powers of a beta near 1 would lose the digits that matter.
    unbias1 = np.float32(-1.0 / math.expm1(np.float64(step) * load(hyper, h_at + 6)))
    unbias2 = np.float32(-1.0 / math.expm1(np.float64(step) * load(hyper, h_at + 7)))
    for i in range(width):
        gradient = load(grads, g_at + i)
        m = beta1 * load(words, s_at + i) + rest1 * gradient
        v = beta2 * load(words, v_at + i) + rest2 * (gradient * gradient)
        store(words, s_at + i, m)
        store(words, v_at + i, v)
        delta = rate * (m * unbias1) / (math.sqrt(v * unbias2) + epsilon)
        store(words, w_at + i, load(words, w_at + i) - delta)


@inlined
def _ftrl_accumulate(
    weight: np.float32,
    z: np.float32,
    n: np.float32,
    gradient: np.float32,
    alpha: np.float32,
) -> tuple[np.float32, np.float32]:
    """The new z and n. sigma comes from n as it is stored, so rounding cannot pull z off centre."""
    n_new = min(n + gradient * gradient, _LARGEST)
    # (sqrt(n_new) - sqrt(n)) / alpha, without the cancellation
    both = np.float32(math.sqrt(n_new)) + np.float32(math.sqrt(n))
    sigma = (n_new - n) / max(both, _TINY) / alpha
    return z + gradient - sigma * weight, n_new


@inlined
def ftrl_step(
    weight: np.float32,
    z: np.float32,
    n: np.float32,
    gradient: np.float32,
    hyper: np.ndarray,
    h_at: Int,
) -> tuple[np.float32, np.float32, np.float32]:
    """One coordinate's new (weight, z, n)."""
    alpha = load(hyper, h_at)
    z, n = _ftrl_accumulate(weight, z, n, gradient, alpha)
    denominator = (load(hyper, h_at + 1) + math.sqrt(n)) / alpha + load(hyper, h_at + 3)
    size = max(abs(z) - load(hyper, h_at + 2), _ZERO) / denominator
    # 0 - size, not -size: a pruned weight is +0
    return _ZERO - size if z > _ZERO else size, z, n


@inlined
def _ftrl_proximal(
    words: np.ndarray,
    w_at: Int,
    s_at: Int,
    width: Int,
    grads: np.ndarray,
    g_at: Int,
    hyper: np.ndarray,
    h_at: Int,
) -> None:
    """State: z, then n, one of each a coordinate."""
    n_at = s_at + width
    for i in range(width):
        weight, z, n = ftrl_step(
            load(words, w_at + i),
            load(words, s_at + i),
            load(words, n_at + i),
            load(grads, g_at + i),
            hyper,
            h_at,
        )
        store(words, w_at + i, weight)
        store(words, s_at + i, z)
        store(words, n_at + i, n)


@inlined
def _group_lasso_ftrl(
    words: np.ndarray,
    w_at: Int,
    s_at: Int,
    width: Int,
    grads: np.ndarray,
    g_at: Int,
    hyper: np.ndarray,
    h_at: Int,
) -> None:
    """State as in FTRL-Proximal; the row is the group."""
    n_at = s_at + width
    alpha = load(hyper, h_at)
    beta = load(hyper, h_at + 1)
    l1 = load(hyper, h_at + 2)
    l2 = load(hyper, h_at + 3)
    for i in range(width):
        z, n = _ftrl_accumulate(
            load(words, w_at + i),
            load(words, s_at + i),
            load(words, n_at + i),
            load(grads, g_at + i),
            alpha,
        )
        store(words, s_at + i, z)
        store(words, n_at + i, n)
        shrunk = max(abs(z) - l1, _ZERO)
        # What l1 leaves of -z waits where the weights will be.
        store(words, w_at + i, _ZERO - shrunk if z > _ZERO else shrunk)
    norm = math.sqrt(_sum_of_squares(words, w_at, width))
    threshold = load(hyper, h_at + 4) * np.float32(math.sqrt(np.float32(width)))
    kept = _ONE - threshold / norm if norm > threshold else _ZERO
    for i in range(width):
        curvature = (beta + math.sqrt(load(words, n_at + i))) / alpha + l2
        # + 0 turns -0 into +0 where the group is pruned
        store(words, w_at + i, load(words, w_at + i) * kept / curvature + _ZERO)


@inlined
def _fill(words: np.ndarray, at: Int, count: Int, value: np.float32) -> None:
    for i in range(at, at + count):
        store(words, i, value)


@inlined
def _init_ftrl(
    words: np.ndarray,
    w_at: Int,
    s_at: Int,
    width: Int,
    hyper: np.ndarray,
    h_at: Int,
) -> None:
    """Centre the first proximal term, of weight beta / alpha, on the initial weights."""
    stiffness = load(hyper, h_at + 1) / load(hyper, h_at)
    for i in range(width):
        store(words, s_at + i, _ZERO - stiffness * load(words, w_at + i))
        store(words, s_at + width + i, _ZERO)


@inlined
def init_state(
    kind: Int,
    words: np.ndarray,
    w_at: Int,
    s_at: Int,
    width: Int,
    hyper: np.ndarray,
    h_at: Int,
) -> None:
    """Write a new row's state at words[s_at]; its initial weights must be in place already."""
    if kind == MOMENTUM:
        _fill(words, s_at, width, _ZERO)
    elif kind == ADAGRAD:
        _fill(words, s_at, width, load(hyper, h_at + 1))
    elif kind == ROWWISE_ADAGRAD:
        store(words, s_at, load(hyper, h_at + 1))
    elif kind == ADAM:
        _fill(words, s_at, 2 * width + 1, _ZERO)
    elif kind == FTRL_PROXIMAL or kind == GROUP_LASSO_FTRL:
        _init_ftrl(words, w_at, s_at, width, hyper, h_at)


@inlined
def apply_gradient(
    kind: Int,
    words: np.ndarray,
    w_at: Int,
    s_at: Int,
    width: Int,
    grads: np.ndarray,
    g_at: Int,
    hyper: np.ndarray,
    h_at: Int,
) -> None:
    """Move one row by one gradient under the optimizer of this kind."""
    if kind == ROWWISE_ADAGRAD:
        _rowwise_adagrad(words, w_at, s_at, width, grads, g_at, hyper, h_at)
    elif kind == ADAGRAD:
        _adagrad(words, w_at, s_at, width, grads, g_at, hyper, h_at)
    elif kind == FTRL_PROXIMAL:
        _ftrl_proximal(words, w_at, s_at, width, grads, g_at, hyper, h_at)
    elif kind == ADAM:
        _adam(words, w_at, s_at, width, grads, g_at, hyper, h_at)
    elif kind == SGD:
        _sgd(words, w_at, width, grads, g_at, hyper, h_at)
    elif kind == MOMENTUM:
        _momentum(words, w_at, s_at, width, grads, g_at, hyper, h_at)
    elif kind == GROUP_LASSO_FTRL:
        _group_lasso_ftrl(words, w_at, s_at, width, grads, g_at, hyper, h_at)
