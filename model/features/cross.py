"""Crosses: one id for a combination of other features' ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model.batch import FidColumn
from model.errors import FeatureError
from model.features.categorical import DEFAULT_TABLE, Pooling
from model.fids import slot_prefix
from model.kernels.fids import cross_fids

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model.features.rows import Rows
    from ps.arrays import U64


@dataclass(frozen=True, slots=True)
class Cross:
    """The hashed combination of two or more features, in the order given.

    of: names of features with fids, not crosses themselves. One of them may be multi-valued: the
    cross then has an id for each of its values, pooled as said here.
    """

    name: str
    of: tuple[str, ...]
    slot: int
    pooling: Pooling = "sum"
    table: str = DEFAULT_TABLE

    def __post_init__(self) -> None:
        slot_prefix(self.name, self.slot)
        object.__setattr__(self, "of", tuple(self.of))
        if len(self.of) < 2 or len(set(self.of)) < len(self.of):
            raise FeatureError(self.name, "a cross is of two or more different features")

    @property
    def columns(self) -> tuple[str, ...]:
        """The raw columns it reads itself: none."""
        return ()

    def extract(self, rows: Rows, done: Mapping[str, FidColumn]) -> FidColumn:
        """The fids, from those of its members, which are in done."""
        del rows
        members = [done[name] for name in self.of]
        offsets = next((m.offsets for m in members if m.offsets is not None), None)
        prefix = slot_prefix(self.name, self.slot)
        crossed: U64 | None = None
        for member in members:
            fids = member.fids
            if offsets is not None and member.offsets is None:
                fids = np.repeat(fids, np.diff(offsets))
            if crossed is None:
                crossed = fids
                continue
            out = np.empty(len(fids), np.uint64)
            cross_fids(crossed, fids, prefix, out)
            crossed = out
        if crossed is None:
            raise FeatureError(self.name, "a cross of nothing")
        return FidColumn(crossed, offsets)
