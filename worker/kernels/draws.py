"""Counter-based randomness: every draw is a function of a key, so any record can be made first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ps.kernels.jit import inlined

if TYPE_CHECKING:
    Whole = int | np.int64

# Weyl increment and multipliers of SplitMix64 (Steele, Lea, Flood 2014), variant 13 of Stafford.
_WEYL = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIER_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLIER_2 = np.uint64(0x94D049BB133111EB)


@inlined
def mixed(key: np.uint64, salt: Whole) -> np.uint64:
    """A 64-bit hash of (key, salt)."""
    z = key + _WEYL * (np.uint64(salt) + np.uint64(1))
    z = (z ^ (z >> np.uint64(30))) * _MULTIPLIER_1
    z = (z ^ (z >> np.uint64(27))) * _MULTIPLIER_2
    return z ^ (z >> np.uint64(31))


@inlined
def uniform(bits: np.uint64) -> float:
    """A float64 in [0, 1) from the high 53 bits."""
    return np.float64(bits >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@inlined
def normal(bits: np.uint64) -> float:
    """Roughly standard normal: four 16-bit uniforms summed (Irwin-Hall), so within +-3.5."""
    low = np.uint64(0xFFFF)
    total = (
        np.float64(bits & low)
        + np.float64((bits >> np.uint64(16)) & low)
        + np.float64((bits >> np.uint64(32)) & low)
        + np.float64(bits >> np.uint64(48))
    )
    return (total / 65535.0 - 2.0) * 1.7320508075688772


@inlined
def zipf_rank(u: float, n: float, exponent: float) -> np.int64:
    """A rank in [0, n) with P(rank) falling as (rank + 1) ** -exponent, by inverting the integral.

    u: uniform in [0, 1). The continuous bounded Pareto law, cut to whole ranks.
    """
    if exponent == 1.0:
        x = math.exp(u * math.log(n + 1.0))
    else:
        power = 1.0 - exponent
        x = (1.0 + u * ((n + 1.0) ** power - 1.0)) ** (1.0 / power)
    return np.int64(min(x - 1.0, n - 1.0))
