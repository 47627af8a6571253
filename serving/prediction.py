"""The answer to a request, as the predictor gives it and the client receives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.arrays import F32
    from serving.version import ModelVersion


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of n candidates.

    probabilities: float32[n], in the order of the request, owned by the receiver. staleness_s: how
    long ago the weights that answered were sealed, by the shard furthest behind. unknown_fids: by
    table, how many distinct fids of the request have no row.
    """

    probabilities: F32
    version: ModelVersion
    staleness_s: float
    unknown_fids: Mapping[str, int]
