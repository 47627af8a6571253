"""What every optimizer spec offers, and the checks they share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from ps.errors import SpecError
from ps.kernels.optimize import HYPER_WIDTH

if TYPE_CHECKING:
    from ps.arrays import F32

# Outside these bounds a float32 step can overflow on a legal gradient (1e15) or vanish altogether.
_SMALLEST_RATE = 1e-9
_LARGEST_RATE = 1e6
# The least that may stand under a step where all squared gradients have underflowed.
SMALLEST_DENOMINATOR = 1e-10
# Above this a sum of squares has no room left to grow in.
_LARGEST_PENALTY = 1e15


class Optimizer(ABC):
    """A frozen spec: how much state a row has, how it starts, and which kernel moves it.

    Hashable and comparable by value. The update rule itself is in ps.kernels.optimize, found by
    kind; hyper()[0] is always the learning rate (alpha of FTRL).
    """

    __slots__ = ()

    kind: ClassVar[int]
    name: ClassVar[str]

    @abstractmethod
    def state_width(self, width: int) -> int:
        """float32 words of state for a row of `width` weights."""

    @abstractmethod
    def hyper(self) -> F32:
        """The hyperparameters as the kernel reads them: float32[HYPER_WIDTH], a new array."""

    @abstractmethod
    def with_learning_rate(self, learning_rate: float) -> Self:
        """The same optimizer at another rate, for a slot's own; raises SpecError."""


def packed(*values: float) -> F32:
    """float32[HYPER_WIDTH] that begins with the given values; the rest is 0."""
    hyper = np.zeros(HYPER_WIDTH, dtype=np.float32)
    hyper[: len(values)] = values
    return hyper


def check_rate(owner: str, key: str, rate: float) -> None:
    """Refuse a learning rate that float32 steps cannot use."""
    if not _SMALLEST_RATE <= rate <= _LARGEST_RATE:
        raise SpecError(
            f"{owner}: {key} is {rate!r}; set it between {_SMALLEST_RATE:g} and {_LARGEST_RATE:g}"
        )


def check_penalty(owner: str, key: str, strength: float) -> None:
    """Refuse a regularisation strength that is negative, NaN or larger than any gradient sum."""
    if not 0.0 <= strength <= _LARGEST_PENALTY:
        raise SpecError(
            f"{owner}: {key} is {strength!r}; set it between 0 (off) and {_LARGEST_PENALTY:g}"
        )


def check_decay(owner: str, key: str, decay: float) -> None:
    """Refuse a decay outside [0, 1 - 1e-7]: nearer to 1, float32 cannot tell it from 1."""
    if not 0.0 <= decay <= 1.0 - 1e-7:
        raise SpecError(
            f"{owner}: {key} is {decay!r}; set it to at least 0 and at most 0.9999999, "
            "usually 0.9 to 0.999"
        )


def check_denominator(owner: str, accumulator: float, epsilon: float) -> None:
    """Refuse a pair that lets sqrt(accumulator) + epsilon reach zero."""
    for key, value in (("initial_accumulator", accumulator), ("epsilon", epsilon)):
        if not 0.0 <= value <= _LARGEST_PENALTY:
            raise SpecError(
                f"{owner}: {key} is {value!r}; set it between 0 and {_LARGEST_PENALTY:g}"
            )
    if math.sqrt(accumulator) + epsilon < SMALLEST_DENOMINATOR:
        raise SpecError(
            f"{owner}: initial_accumulator {accumulator!r} and epsilon {epsilon!r} leave nothing "
            f"under the first step; set epsilon to at least {SMALLEST_DENOMINATOR:g}, or "
            "initial_accumulator to its square"
        )
