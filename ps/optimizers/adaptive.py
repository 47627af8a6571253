"""Learning rates that adapt to the gradients seen: AdaGrad, row-wise AdaGrad, lazy Adam."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from ps.errors import SpecError
from ps.kernels import optimize
from ps.optimizers.spec import (
    SMALLEST_DENOMINATOR,
    Optimizer,
    check_decay,
    check_denominator,
    check_rate,
    packed,
)

if TYPE_CHECKING:
    from ps.arrays import F32


@dataclass(frozen=True, slots=True)
class AdaGrad(Optimizer):
    """a += g^2; w -= learning_rate * g / (sqrt(a) + epsilon).

    Duchi, Hazan and Singer 2011, diagonal form. State: a, one per coordinate.
    """

    learning_rate: float = 0.05
    initial_accumulator: float = 0.1
    epsilon: float = 1e-8

    kind: ClassVar[int] = optimize.ADAGRAD
    name: ClassVar[str] = "adagrad"

    def __post_init__(self) -> None:
        check_rate(self.name, "learning_rate", self.learning_rate)
        check_denominator(self.name, self.initial_accumulator, self.epsilon)

    def state_width(self, width: int) -> int:
        """One sum of squares per coordinate."""
        return width

    def hyper(self) -> F32:
        """learning_rate, initial_accumulator, epsilon."""
        return packed(self.learning_rate, self.initial_accumulator, self.epsilon)

    def with_learning_rate(self, learning_rate: float) -> AdaGrad:
        """The same at another learning_rate."""
        return replace(self, learning_rate=learning_rate)


@dataclass(frozen=True, slots=True)
class RowwiseAdaGrad(Optimizer):
    """a += mean(g^2) over the row; w -= learning_rate * g / (sqrt(a) + epsilon).

    The exact row-wise AdaGrad of DLRM and FBGEMM (Mudigere et al. 2022, section 4.1.4). State: a,
    one float per row.
    """

    learning_rate: float = 0.05
    initial_accumulator: float = 0.1
    epsilon: float = 1e-8

    kind: ClassVar[int] = optimize.ROWWISE_ADAGRAD
    name: ClassVar[str] = "rowwise_adagrad"

    def __post_init__(self) -> None:
        check_rate(self.name, "learning_rate", self.learning_rate)
        check_denominator(self.name, self.initial_accumulator, self.epsilon)

    def state_width(self, width: int) -> int:  # noqa: ARG002
        """One sum of mean squares per row."""
        return 1

    def hyper(self) -> F32:
        """learning_rate, initial_accumulator, epsilon."""
        return packed(self.learning_rate, self.initial_accumulator, self.epsilon)

    def with_learning_rate(self, learning_rate: float) -> RowwiseAdaGrad:
        """The same at another learning_rate."""
        return replace(self, learning_rate=learning_rate)


@dataclass(frozen=True, slots=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, Algorithm 1), applied lazily row by row.

    A row's moments rest while its fid does not occur, and its bias correction counts its own
    updates, so a fid that is new today starts like one that was new at the beginning. State: first
    moments, second moments, and the number of updates, 2 * width + 1 floats.
    """

    learning_rate: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    kind: ClassVar[int] = optimize.ADAM
    name: ClassVar[str] = "adam"

    def __post_init__(self) -> None:
        check_rate(self.name, "learning_rate", self.learning_rate)
        check_decay(self.name, "beta1", self.beta1)
        check_decay(self.name, "beta2", self.beta2)
        if not SMALLEST_DENOMINATOR <= self.epsilon <= 1.0:
            raise SpecError(
                f"adam: epsilon is {self.epsilon!r}; set it between {SMALLEST_DENOMINATOR:g} and 1"
            )

    def state_width(self, width: int) -> int:
        """Two moments per coordinate and the row's number of updates."""
        return 2 * width + 1

    def hyper(self) -> F32:
        """learning_rate, beta1, beta2, epsilon, 1 - beta1, 1 - beta2, log(beta1), log(beta2)."""
        return packed(
            self.learning_rate,
            self.beta1,
            self.beta2,
            self.epsilon,
            1.0 - self.beta1,
            1.0 - self.beta2,
            math.log(self.beta1) if self.beta1 > 0.0 else -math.inf,
            math.log(self.beta2) if self.beta2 > 0.0 else -math.inf,
        )

    def with_learning_rate(self, learning_rate: float) -> Adam:
        """The same at another learning_rate."""
        return replace(self, learning_rate=learning_rate)
