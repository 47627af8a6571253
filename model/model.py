"""What a model is to the trainer and the predictor, whichever of them holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model.batch import Gradients, Inputs
    from ps.arrays import F32


@dataclass(frozen=True, slots=True)
class DenseShape:
    """A dense variable a model asks for: its shape, and how to draw it at the start.

    init_scale: standard deviation of the normal draw; None means zeros.
    """

    shape: tuple[int, ...]
    init_scale: float | None = None


class Model(Protocol):
    """A pure function of its inputs with a hand-written derivative; it holds no parameters.

    It may hold scratch memory, so one object serves one thread.
    """

    @property
    def row_width(self) -> int:
        """Floats per row that this model wants in its tables (FM of dim k: 1 + k)."""
        ...

    @property
    def leading_zeros(self) -> int:
        """How many leading floats of a row start at zero (FM: the linear weight, 1)."""
        ...

    def dense_shapes(self) -> Mapping[str, DenseShape]:
        """The dense variables, by name."""
        ...

    def forward(self, inputs: Inputs) -> F32:
        """Logits, float32[size]. Keeps what backward needs until the next forward."""
        ...

    def backward(self, dlogits: F32) -> Gradients:
        """Gradients of sum(dlogits * logits) (rows) and of its mean over examples (dense).

        dlogits: float32[size], the derivative of each example's loss by its logit.
        """
        ...
