"""Features that name things: one id an example, or several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from model.arrow import empty_text, nulls, plain
from model.batch import FidColumn
from model.errors import FeatureError
from model.fids import column_fids, slot_prefix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model.arrow import Column
    from model.features.rows import Rows
    from ps.arrays import I64

Pooling = Literal["sum", "mean"]
DEFAULT_TABLE = "embedding"


@dataclass(frozen=True, slots=True)
class Categorical:
    """One id an example, from a column of integers, text or booleans.

    Identities follow model.fids: CSV text "12" and a typed 12 are the same id; null and the empty
    text are the missing id.
    """

    name: str
    column: str
    slot: int
    table: str = DEFAULT_TABLE

    def __post_init__(self) -> None:
        slot_prefix(self.name, self.slot)

    @property
    def columns(self) -> tuple[str, ...]:
        """The raw columns it reads."""
        return (self.column,)

    def extract(self, rows: Rows, done: Mapping[str, FidColumn]) -> FidColumn:
        """The fids. Raises FeatureError for a missing column or one of another type."""
        del done
        return FidColumn(column_fids(self.name, self.slot, rows.column(self.name, self.column)))


@dataclass(frozen=True, slots=True)
class MultiValued:
    """Any number of ids an example, from a list column or from text split at a separator.

    separator: None takes list columns only; with one, text is split and lists are taken as well.
    Nulls and empty texts among the values are dropped, and an example may have none; repeated
    values count as often as they stand there. pooling: how a model makes one vector of them.
    """

    name: str
    column: str
    slot: int
    separator: str | None = None
    pooling: Pooling = "sum"
    table: str = DEFAULT_TABLE

    def __post_init__(self) -> None:
        slot_prefix(self.name, self.slot)
        if self.separator == "":
            raise FeatureError(self.name, "separator is empty; leave it out for list columns")

    @property
    def columns(self) -> tuple[str, ...]:
        """The raw columns it reads."""
        return (self.column,)

    def extract(self, rows: Rows, done: Mapping[str, FidColumn]) -> FidColumn:
        """The fids. Raises FeatureError for a missing column or one of another type."""
        del done
        values, offsets = self._values(plain(rows.column(self.name, self.column)))
        offsets, kept = _without_empties(values, offsets)
        return FidColumn(column_fids(self.name, self.slot, kept), offsets)

    def _values(self, column: Column) -> tuple[Column, I64]:
        kind = column.type
        if pt.is_null(kind):
            return pa.array([], pa.string()), np.zeros(len(column) + 1, np.int64)
        if pt.is_string(kind):
            if self.separator is None:
                raise FeatureError(
                    self.name, f"column {self.column!r} is text; say at which separator to split it"
                )
            split: Any = pc.split_pattern(column, self.separator)
            column = split
        elif not (pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind)):
            raise FeatureError(self.name, f"a column of {kind} is neither lists nor text")
        lists: Any = column
        if pt.is_fixed_size_list(kind):
            lists = column.cast(pa.list_(kind.value_type))
        offsets = np.zeros(len(lists) + 1, np.int64)
        np.cumsum(lists.value_lengths().fill_null(0).to_numpy(), out=offsets[1:])
        return plain(lists.flatten()), offsets


def _without_empties(values: Column, offsets: I64) -> tuple[I64, Column]:
    """Drop null and empty values: the offsets of what is left, and what is left."""
    if pt.is_string(values.type):
        empty = empty_text(values)
    elif values.null_count:
        empty = nulls(values)
    else:
        return offsets, values
    if not empty.any():
        return offsets, values
    kept = np.zeros(len(values) + 1, np.int64)
    np.cumsum(~empty, out=kept[1:])
    mask: Any = pa.array(~empty)
    return kept[offsets], values.filter(mask)
