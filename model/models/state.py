"""What a forward pass leaves for the backward pass that follows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from model.errors import BackwardBeforeForwardError

if TYPE_CHECKING:
    from model.batch import Inputs

T = TypeVar("T")


class Pending(Generic[T]):
    """The inputs of the last forward and what it computed of them, until they are asked for."""

    def __init__(self) -> None:
        self._kept: tuple[Inputs, T] | None = None

    def put(self, inputs: Inputs, computed: T) -> None:
        """Keep them in place of what was kept before."""
        self._kept = (inputs, computed)

    def take(self) -> tuple[Inputs, T]:
        """Hand them over, once. Raises BackwardBeforeForwardError when there are none."""
        if self._kept is None:
            raise BackwardBeforeForwardError
        kept, self._kept = self._kept, None
        return kept
