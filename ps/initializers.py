"""How a row's weights start: a frozen spec for the kernel in ps.kernels.initialize."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ps.errors import SpecError
from ps.kernels import initialize

InitializerKind = Literal["zeros", "uniform", "normal"]

_CODES: dict[str, int] = {
    "zeros": initialize.ZEROS,
    "uniform": initialize.UNIFORM,
    "normal": initialize.NORMAL,
}
# Beyond this, dot products of fresh rows overflow float32.
_LARGEST_SCALE = 1e6


@dataclass(frozen=True, slots=True)
class Initializer:
    """zeros, uniform in (-scale, scale), or normal of standard deviation scale (cut at 6 scale).

    leading_zeros: how many of the first columns start at 0 whatever the kind: the linear weight that
    an FM keeps in front of its factors. The numbers depend on (seed, fid, column) alone.
    """

    kind: InitializerKind = "zeros"
    scale: float = 0.0
    leading_zeros: int = 0

    def __post_init__(self) -> None:
        if self.kind not in _CODES:
            raise SpecError(
                f"initializer kind is {self.kind!r}; set it to one of {', '.join(_CODES)}"
            )
        if not math.isfinite(self.scale) or not 0.0 <= self.scale <= _LARGEST_SCALE:
            raise SpecError(
                f"initializer scale is {self.scale!r}; set it between 0 and {_LARGEST_SCALE:g}"
            )
        if self.kind != "zeros" and self.scale == 0.0:
            raise SpecError(
                f"initializer {self.kind} has scale 0; give it a scale (0.01, say) or set kind: zeros"
            )
        if self.leading_zeros < 0:
            raise SpecError(
                f"initializer leading_zeros is {self.leading_zeros!r}; set it to 0 or more"
            )

    @property
    def code(self) -> int:
        """The integer by which ps.kernels.initialize knows this kind."""
        return _CODES[self.kind]
