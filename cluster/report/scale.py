"""Axes: round ticks, and from values to places on the page."""

from __future__ import annotations

import math
from dataclasses import dataclass

_ROUND_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Axis:
    """Values low to high on the places begin to end (which may run backwards), with ticks."""

    low: float
    high: float
    begin: float
    end: float
    ticks: tuple[float, ...]
    decimals: int

    def place(self, value: float) -> float:
        """Where a value stands."""
        return self.begin + (value - self.low) / (self.high - self.low) * (self.end - self.begin)

    def label(self, tick: float) -> str:
        """A tick as it is printed: large numbers in thousands and millions."""
        step = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else self.high - self.low
        for size, unit in ((1e6, " M"), (1e3, " k")):
            if max(abs(self.low), abs(self.high)) >= 10 * size and step >= size / 20:
                text = f"{tick / size:.2f}".rstrip("0").rstrip(".")
                return f"{text}{unit}" if tick else "0"
        return f"{tick:,.{self.decimals}f}"


def axis(
    low: float,
    high: float,
    begin: float,
    end: float,
    *,
    about: int = 5,
    tight: bool = False,
) -> Axis:
    """An axis that covers low to high in about so many round steps.

    tight: the ends stay as they are, else they move out to a tick.
    """
    if not high > low:
        margin = abs(low) * 0.05 or 0.5
        low, high = low - margin, high + margin
    step = _round_step((high - low) / about)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if tight:
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    else:
        low, high = first * step, last * step
    ticks = tuple(number * step for number in range(first, last + 1))
    return Axis(low, high, begin, end, ticks, _decimals(step))


def _round_step(step: float) -> float:
    size = 10.0 ** math.floor(math.log10(step))
    return next(size * each for each in _ROUND_STEPS if size * each >= step * (1 - 1e-9))


def _decimals(step: float) -> int:
    """How many decimals tell ticks apart."""
    for decimals in range(10):
        if math.isclose(round(step, decimals), step, rel_tol=1e-6):
            return decimals
    return 10
