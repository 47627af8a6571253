"""Plain gradient descent, with and without momentum."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from ps.kernels import optimize
from ps.optimizers.spec import Optimizer, check_decay, check_rate, packed

if TYPE_CHECKING:
    from ps.arrays import F32


@dataclass(frozen=True, slots=True)
class Sgd(Optimizer):
    """w -= learning_rate * g. No state."""

    learning_rate: float = 0.01

    kind: ClassVar[int] = optimize.SGD
    name: ClassVar[str] = "sgd"

    def __post_init__(self) -> None:
        check_rate(self.name, "learning_rate", self.learning_rate)

    def state_width(self, width: int) -> int:  # noqa: ARG002
        """No state at all."""
        return 0

    def hyper(self) -> F32:
        """learning_rate."""
        return packed(self.learning_rate)

    def with_learning_rate(self, learning_rate: float) -> Sgd:
        """The same at another learning_rate."""
        return replace(self, learning_rate=learning_rate)


@dataclass(frozen=True, slots=True)
class Momentum(Optimizer):
    """v = momentum * v + g; w -= learning_rate * v, or (g + momentum * v) with nesterov.

    Sutskever et al. 2013, in the form of PyTorch's SGD. Lazy: a row's velocity rests while its fid
    does not occur. State: v, one per coordinate.
    """

    learning_rate: float = 0.01
    momentum: float = 0.9
    nesterov: bool = False

    kind: ClassVar[int] = optimize.MOMENTUM
    name: ClassVar[str] = "momentum"

    def __post_init__(self) -> None:
        check_rate(self.name, "learning_rate", self.learning_rate)
        check_decay(self.name, "momentum", self.momentum)

    def state_width(self, width: int) -> int:
        """One velocity per coordinate."""
        return width

    def hyper(self) -> F32:
        """learning_rate, momentum, nesterov (0 or 1)."""
        return packed(self.learning_rate, self.momentum, float(self.nesterov))

    def with_learning_rate(self, learning_rate: float) -> Momentum:
        """The same at another learning_rate."""
        return replace(self, learning_rate=learning_rate)
