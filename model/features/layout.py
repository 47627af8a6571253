"""What a model needs to know of a feature specification: which vectors come in, and how pooled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model.features.categorical import Pooling


@dataclass(frozen=True, slots=True)
class FidField:
    """A feature with fids. pooling: None means exactly one fid an example."""

    name: str
    slot: int
    table: str
    pooling: Pooling | None = None


@dataclass(frozen=True, slots=True)
class FeatureLayout:
    """The fields in the order of the specification, and the number of dense inputs."""

    fields: tuple[FidField, ...]
    dense_width: int = 0

    @property
    def tables(self) -> dict[str, tuple[str, ...]]:
        """Table -> names of the features that live in it, both in order of appearance."""
        named: dict[str, tuple[str, ...]] = {}
        for field in self.fields:
            named[field.table] = (*named.get(field.table, ()), field.name)
        return named
