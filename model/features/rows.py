"""The rows under extraction: raw columns, parsed numbers (once each), and what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.types as pt

from model.arrow import castable, empty_as_null, filled_floats, nulls, plain, trimmed
from model.errors import FeatureError

if TYPE_CHECKING:
    from collections.abc import Callable

    from model.arrow import Column
    from ps.arrays import F64, I64, Bool

# What Arrow reads as a float64, NaN and infinity included so that they are named as such.
_NUMBER = r"(?i)^[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf|infinity)$"


@dataclass(frozen=True, slots=True)
class Numbers:
    """A column as numbers: values float64[n], NaN where missing or unreadable; read-only.

    missing, unreadable: bool[n], None where there are none. Values may be NaN or infinite besides.
    """

    values: F64
    missing: Bool | None
    unreadable: Bool | None


class Rows:
    """One extraction at work: n rows, or the single row that n candidates share.

    columns: the raw record batch. event_ts_us: int64[n]. Not for keeping: it collects rejections.
    """

    def __init__(self, columns: pa.RecordBatch, event_ts_us: I64) -> None:
        self.size = columns.num_rows
        self.event_ts_us = event_ts_us
        self.reasons: dict[int, str] = {}
        self._columns = columns
        self._index = {name: i for i, name in enumerate(columns.schema.names)}
        self._numbers: dict[str, Numbers] = {}

    def __contains__(self, column: str) -> bool:
        return column in self._index

    def column(self, feature: str, name: str) -> Column:
        """A raw column. Raises FeatureError where there is none of that name."""
        at = self._index.get(name)
        if at is None:
            there = ", ".join(self._index) or "no columns"
            raise FeatureError(feature, f"column {name!r} is missing; there are {there}")
        return self._columns.column(at)

    def numbers(self, feature: str, name: str) -> Numbers:
        """A column as float64. Raises FeatureError for a type that does not hold numbers."""
        parsed = self._numbers.get(name)
        if parsed is None:
            parsed = parse_numbers(feature, self.column(feature, name))
            self._numbers[name] = parsed
        return parsed

    def reject(self, rows: I64, reason: Callable[[int], str]) -> None:
        """Mark rows as bad; a row keeps the first reason it was given."""
        for row in rows.tolist():
            if row not in self.reasons:
                self.reasons[row] = reason(row)

    def raw(self, feature: str, name: str, row: int) -> str:
        """What a column says in a row, for a message."""
        value: Any = self.column(feature, name)[row].as_py()
        return repr(value)


def parse_numbers(feature: str, column: Column) -> Numbers:
    """Read integers, floats, decimals, booleans or text as float64.

    Null and the empty text are missing; other text must be a number, blanks around it allowed.
    Raises FeatureError for any other type.
    """
    column = plain(column)
    kind = column.type
    if pt.is_string(kind):
        return _parse_text(column)
    if pt.is_boolean(kind):
        column = column.cast(pa.int8())
    elif pt.is_null(kind):
        column = column.cast(pa.float64())
    elif not (pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind)):
        raise FeatureError(feature, f"a column of {kind} does not hold numbers")
    return Numbers(filled_floats(column), nulls(column) if column.null_count else None, None)


def _parse_text(column: Column) -> Numbers:
    column = empty_as_null(column)
    failed = None
    try:
        numbers = column.cast(pa.float64())
    except pa.ArrowInvalid:
        numbers, failed = castable(trimmed(column), pa.float64(), _NUMBER)
    if not numbers.null_count:
        return Numbers(filled_floats(numbers), None, None)
    missing = nulls(numbers)
    if failed is not None:
        missing &= ~failed
    return Numbers(filled_floats(numbers), missing, failed)
