"""Probabilities of the whole stream from a model that learned from a thinned one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model.errors import ModelError

if TYPE_CHECKING:
    from ps.arrays import F32


@dataclass(frozen=True, slots=True)
class NegativeSampling:
    """Undoes keeping only a part of the negatives: q = p / (p + (1 - p) / w).

    He et al. 2014, section 6.3. rate: w, the share of negatives that was learned from, in (0, 1].
    Raises ModelError for any other.
    """

    rate: float

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise ModelError(f"negative sampling rate {self.rate} is not in (0, 1]")

    def logits(self, logits: F32) -> F32:
        """The same correction on logits, where it is only a shift: logit + log(w). float32[n]."""
        return logits + np.float32(np.log(self.rate))
