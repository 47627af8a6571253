"""Event time: when it happened, in microseconds since the Unix epoch, UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from model.arrow import castable, filled_words, nulls, plain, take, trimmed
from model.errors import FeatureError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model.arrow import Column
    from model.features.rows import Rows
    from ps.arrays import I64, Bool

_UNIT_US: Mapping[str, int] = MappingProxyType({"s": 1_000_000, "ms": 1_000, "us": 1})
# Rows keep the second they were last seen in 32 bits (ps): 1970 to 2106.
LIMIT_US = (1 << 32) * 1_000_000
_FEATURE = "event_time"
_ZONE = r"(?:[Zz]|[+-]\d\d:?(?:\d\d)?)$"
_HAS_TIME = r":"
_DATE = r"^\d{4}-\d\d-\d\d"


@dataclass(frozen=True, slots=True)
class EventTimeSpec:
    """Which column says when, and how it is written.

    format: "s", "ms" or "us" since the Unix epoch; "iso" for ISO 8601, UTC where no zone is said;
    or a strptime pattern such as "%y%m%d%H", in UTC unless it has %z. Columns of Arrow timestamps
    and dates need no format and ignore it. Times before 1970 or after 2106 are rejected.
    Raises FeatureError for a format it does not know.
    """

    column: str
    format: str = "s"

    def __post_init__(self) -> None:
        if self.format not in _UNIT_US and self.format != "iso" and "%" not in self.format:
            raise FeatureError(
                _FEATURE,
                f"no format {self.format!r}; use s, ms, us, iso, or a pattern such as %y%m%d%H",
            )

    def extract(self, rows: Rows) -> I64:
        """int64[n] in microseconds; rows whose time cannot be read are rejected, with 0.

        Raises FeatureError for a missing column or one of another type.
        """
        column = plain(rows.column(_FEATURE, self.column))
        times, bad = self._read(rows, column)
        bad = bad | (times < 0) | (times >= LIMIT_US)
        if bad.any():
            rows.reject(np.flatnonzero(bad), lambda row: self._reason(rows, row))
            times = np.where(bad, np.int64(0), times)
        return times

    def _read(self, rows: Rows, column: Column) -> tuple[I64, Bool]:
        kind = column.type
        if pt.is_timestamp(kind) or pt.is_date(kind):
            exact: Any = column.cast(pa.timestamp("us"), safe=False)
            return _microseconds(exact)
        unit_us = _UNIT_US.get(self.format)
        if unit_us is not None:
            return self._count(rows, column, unit_us)
        if pt.is_integer(kind):
            column = column.cast(pa.string())
        if not pt.is_string(kind) and not pt.is_integer(kind):
            raise FeatureError(_FEATURE, f"a column of {kind} is not text of {self.format}")
        if self.format == "iso":
            return _iso(trimmed(column))
        parsed: Any = pc.strptime(column, format=self.format, unit="us", error_is_null=True)
        return _microseconds(parsed)

    def _count(self, rows: Rows, column: Column, unit_us: int) -> tuple[I64, Bool]:
        """Units since the epoch: float64 holds a time before 2255 exactly."""
        if pt.is_integer(column.type):
            words = filled_words(column)
            bad = nulls(column) | (words < 0) | (words > LIMIT_US // unit_us)
            return np.where(bad, np.int64(0), words) * unit_us, bad
        values = rows.numbers(_FEATURE, self.column).values * unit_us
        with np.errstate(invalid="ignore"):
            bad = ~((values >= 0) & (values < LIMIT_US))
        return np.where(bad, 0.0, np.rint(values)).astype(np.int64), bad

    def _reason(self, rows: Rows, row: int) -> str:
        raw = rows.raw(_FEATURE, self.column, row)
        return f"event time {self.column!r} is {raw}, not a time from 1970 to 2106 as {self.format}"


@dataclass(frozen=True, slots=True)
class OffsetClock:
    """Event time for streams that have none: start_us + offset * step_us.

    The default lets a second pass for every thousand records.
    """

    start_us: int = 0
    step_us: int = 1_000

    def of(self, offsets: I64) -> I64:
        """int64[n] offsets in the partition -> int64[n] microseconds."""
        return self.start_us + offsets * self.step_us


def _iso(column: Column) -> tuple[I64, Bool]:
    """Zoned and zoneless ISO 8601 text; what Arrow cannot read, datetime.fromisoformat may."""
    zoned_flags: Any = pc.and_(
        pc.match_substring_regex(column, _ZONE), pc.match_substring(column, _HAS_TIME)
    )
    zoned = np.asarray(zoned_flags.fill_null(False).to_numpy(zero_copy_only=False), np.bool_)
    times = np.zeros(len(column), np.int64)
    bad = np.zeros(len(column), np.bool_)
    for rows, zone in ((np.flatnonzero(zoned), "UTC"), (np.flatnonzero(~zoned), None)):
        if len(rows):
            part = column if len(rows) == len(column) else take(column, rows)
            read, _ = castable(part, pa.timestamp("us", zone), _DATE)
            times[rows], bad[rows] = _microseconds(read)
    for row in np.flatnonzero(bad).tolist():
        text: Any = column[row].as_py()
        try:
            when = datetime.fromisoformat(text or "")
        except ValueError:
            continue
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        bad[row] = False
        times[row] = round(when.timestamp() * 1e6)
    return times, bad


def _microseconds(column: Column) -> tuple[I64, Bool]:
    """A timestamp[us] column as int64[n], 0 where null, and where that is."""
    return filled_words(column.cast(pa.int64())), nulls(column)
