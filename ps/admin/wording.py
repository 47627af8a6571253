"""Settings in the words people read: durations, optimizers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ps.optimizers import Optimizer

DURATION_UNITS_S = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}


def format_duration(seconds: float) -> str:
    """Seconds in the largest unit that divides them, as a job file has them: "90s", "7d"."""
    for unit, size in reversed(DURATION_UNITS_S.items()):
        if seconds >= size and (seconds / size).is_integer():
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def describe_optimizer(optimizer: Optimizer) -> str:
    """An optimizer as its spec prints, under the name job files use."""
    _, _, settings = repr(optimizer).partition("(")
    return f"{optimizer.name} ({settings}"
