"""Follow the regularised leader: FTRL-Proximal, and its sparse group lasso over rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from ps.errors import SpecError
from ps.kernels import optimize
from ps.optimizers.spec import (
    SMALLEST_DENOMINATOR,
    Optimizer,
    check_penalty,
    check_rate,
    packed,
)

if TYPE_CHECKING:
    from ps.arrays import F32


def _check_beta(owner: str, beta: float) -> None:
    if not SMALLEST_DENOMINATOR <= beta <= 1e6:
        raise SpecError(
            f"{owner}: beta is {beta!r}; set it between {SMALLEST_DENOMINATOR:g} and 1e6 "
            "(1 is usual): at 0 a coordinate's first step is alpha, however small its gradient"
        )


@dataclass(frozen=True, slots=True)
class FtrlProximal(Optimizer):
    """Per-coordinate FTRL-Proximal with L1 and L2 (McMahan et al. 2013, Algorithm 1).

    The weight stored is the one the algorithm derives from z and n, so that serving reads it as it
    is. A row that starts at weights other than 0 (the factors of an FM) has its first proximal term
    centred there; from 0 this is the paper's algorithm to the letter. State: z, then n, one of each
    per coordinate.
    """

    alpha: float = 0.05
    beta: float = 1.0
    l1: float = 0.0
    l2: float = 0.0

    kind: ClassVar[int] = optimize.FTRL_PROXIMAL
    name: ClassVar[str] = "ftrl"

    def __post_init__(self) -> None:
        check_rate(self.name, "alpha", self.alpha)
        _check_beta(self.name, self.beta)
        check_penalty(self.name, "l1", self.l1)
        check_penalty(self.name, "l2", self.l2)

    def state_width(self, width: int) -> int:
        """z and n per coordinate."""
        return 2 * width

    def hyper(self) -> F32:
        """alpha, beta, l1, l2."""
        return packed(self.alpha, self.beta, self.l1, self.l2)

    def with_learning_rate(self, learning_rate: float) -> FtrlProximal:
        """The same at another alpha."""
        return replace(self, alpha=learning_rate)


@dataclass(frozen=True, slots=True)
class GroupLassoFtrl(Optimizer):
    """FTRL-Proximal whose rows vanish as a whole: sparse group lasso, the row being the group.

    Yue et al. 2021, "Adaptive Optimizers with Sparse Group Lasso for Neural Networks in CTR
    Prediction" (arXiv 2107.14432): Group AdaGrad, also known as Sparse Group FTRL (compare Ni et al.
    2019, G-FTRL). With s the part of -z that l1 leaves, the row is
    max(0, 1 - sqrt(width) * group_l21 / |s|) * s / ((beta + sqrt(n)) / alpha + l2);
    l2 counts as in McMahan (half the square), not as in Yue (the square). State: z, then n, one of
    each per coordinate.
    """

    alpha: float = 0.05
    beta: float = 1.0
    l1: float = 0.0
    l2: float = 0.0
    group_l21: float = 0.0

    kind: ClassVar[int] = optimize.GROUP_LASSO_FTRL
    name: ClassVar[str] = "group_lasso_ftrl"

    def __post_init__(self) -> None:
        check_rate(self.name, "alpha", self.alpha)
        _check_beta(self.name, self.beta)
        check_penalty(self.name, "l1", self.l1)
        check_penalty(self.name, "l2", self.l2)
        check_penalty(self.name, "group_l21", self.group_l21)

    def state_width(self, width: int) -> int:
        """z and n per coordinate."""
        return 2 * width

    def hyper(self) -> F32:
        """alpha, beta, l1, l2, group_l21."""
        return packed(self.alpha, self.beta, self.l1, self.l2, self.group_l21)

    def with_learning_rate(self, learning_rate: float) -> GroupLassoFtrl:
        """The same at another alpha."""
        return replace(self, alpha=learning_rate)
