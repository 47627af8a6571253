"""Dense variables: values and optimizer state, moved by the same kernels as the rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from ps.block import DenseDelta
from ps.errors import ShapeError, SpecError
from ps.gradients import check_gradient
from ps.initializers import Initializer
from ps.kernels.dense import apply_variable, init_variable
from ps.table.arrays import for_kernel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ps.arrays import F32
    from ps.optimizers import Optimizer


@dataclass(frozen=True, slots=True)
class DenseSpec:
    """A dense variable: its shape, its optimizer, and where it starts.

    init_scale: uniform in (-init_scale, init_scale), by (seed, name, position) alone; None: zeros.
    An optimizer that works by row takes the whole variable for one row.
    """

    name: str
    shape: tuple[int, ...]
    optimizer: Optimizer
    init_scale: float | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise SpecError("a dense variable has an empty name; name it")
        if any(extent < 1 for extent in self.shape):
            raise SpecError(
                f"dense variable {self.name!r} has shape {self.shape}; make every extent 1 or more"
            )
        if self.init_scale is not None:
            Initializer("uniform", self.init_scale)

    @property
    def size(self) -> int:
        """How many numbers the variable holds; a scalar, shape (), holds one."""
        return math.prod(self.shape)


class _Variable:
    """One variable in one flat array: weights, then state."""

    __slots__ = ("hyper", "moved", "spec", "words")

    def __init__(self, spec: DenseSpec, seed: int) -> None:
        self.spec = spec
        self.hyper = spec.optimizer.hyper()
        self.words: F32 = np.empty(
            spec.size + spec.optimizer.state_width(spec.size), dtype=np.float32
        )
        # The first block tells readers where every variable starts.
        self.moved = True
        initializer = (
            Initializer() if spec.init_scale is None else Initializer("uniform", spec.init_scale)
        )
        init_variable(
            np.int64(initializer.code),
            np.int64(spec.optimizer.kind),
            self.words,
            np.int64(spec.size),
            self.hyper,
            np.float32(initializer.scale),
            np.uint64(seed & (2**64 - 1)),
            np.uint64(xxhash.xxh3_64_intdigest(spec.name.encode())),
        )

    @property
    def weights(self) -> F32:
        return self.words[: self.spec.size].reshape(self.spec.shape)

    @property
    def state(self) -> F32:
        return self.words[self.spec.size :]

    def delta(self) -> DenseDelta:
        return DenseDelta(weights=self.weights.copy(), state=self.state.copy())


class DenseStore:
    """The dense variables of one shard; the store owns every array, what it returns are copies."""

    def __init__(self, specs: Iterable[DenseSpec], seed: int) -> None:
        self._variables: dict[str, _Variable] = {}
        for spec in specs:
            if spec.name in self._variables:
                raise SpecError(f"two dense variables are named {spec.name!r}; rename one")
            self._variables[spec.name] = _Variable(spec, seed)

    @property
    def specs(self) -> tuple[DenseSpec, ...]:
        """The variables' specs, in the order given."""
        return tuple(variable.spec for variable in self._variables.values())

    def values(self) -> dict[str, F32]:
        """Every variable by name: float32[shape], owned by the caller."""
        return {name: variable.weights.copy() for name, variable in self._variables.items()}

    def check(self, grads: Mapping[str, F32]) -> None:
        """Refuse gradients that apply() could not use, before anything is applied.

        Raises ShapeError on an unknown variable, a shape or dtype, NonFiniteGradientError on values.
        """
        for name, grad in grads.items():
            shape = self._known(name).spec.shape
            if grad.shape != shape or grad.dtype != np.float32:
                raise ShapeError(
                    f"gradient of dense variable {name!r} is {grad.dtype}{list(grad.shape)}, "
                    f"expected float32{list(shape)}"
                )
            check_gradient(f"dense variable {name!r}", grad)

    def apply(self, grads: Mapping[str, F32]) -> None:
        """Move the named variables by gradients that check() has let pass: float32[shape] each."""
        for name, grad in grads.items():
            variable = self._variables[name]
            spec = variable.spec
            flat = for_kernel(np.ascontiguousarray(grad)).reshape(-1)
            apply_variable(
                np.int64(spec.optimizer.kind),
                variable.words,
                np.int64(spec.size),
                flat,
                variable.hyper,
            )
            variable.moved = True

    def lend(self, name: str) -> tuple[DenseSpec, F32, F32]:
        """(spec, words, hyper) of a variable, for a kernel that learns example by example.

        words: float32[size + state], weights then state, the store's own; it counts as moved.
        """
        variable = self._known(name)
        variable.moved = True
        return variable.spec, variable.words, variable.hyper

    def seal(self) -> dict[str, DenseDelta]:
        """The variables that moved since the last seal, in full."""
        moved = {name: v.delta() for name, v in self._variables.items() if v.moved}
        for variable in self._variables.values():
            variable.moved = False
        return moved

    def mark_all(self) -> None:
        """Count every variable as moved."""
        for variable in self._variables.values():
            variable.moved = True

    def export(self) -> dict[str, DenseDelta]:
        """Every variable in full; what has moved since the last seal stays marked."""
        return {name: variable.delta() for name, variable in self._variables.items()}

    def restore(self, deltas: Mapping[str, DenseDelta]) -> None:
        """Overwrite the named variables, state included; they do not count as moved.

        Raises ShapeError, before anything is written, on a variable this store does not know or
        one of another shape or optimizer.
        """
        self.check_restore(deltas)
        for name, delta in deltas.items():
            variable = self._variables[name]
            variable.words[: variable.spec.size] = delta.weights.reshape(-1)
            variable.words[variable.spec.size :] = delta.state
            variable.moved = False

    def check_restore(self, deltas: Mapping[str, DenseDelta]) -> None:
        """Refuse what restore() could not take over: ShapeError."""
        for name, delta in deltas.items():
            variable = self._known(name)
            found = (delta.weights.shape, delta.state.shape)
            expected = (variable.spec.shape, variable.state.shape)
            if found != expected:
                raise ShapeError(
                    f"dense variable {name!r} comes with weights {list(found[0])} and state "
                    f"{list(found[1])}, expected {list(expected[0])} and {list(expected[1])}; was "
                    "its shape or optimizer changed?"
                )

    def _known(self, name: str) -> _Variable:
        if name not in self._variables:
            raise ShapeError(
                f"no dense variable {name!r} here; this shard has "
                f"{', '.join(self._variables) or 'none'}"
            )
        return self._variables[name]
