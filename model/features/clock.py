"""Features of the event time: hour of the day, day of the week."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from model.batch import FidColumn
from model.errors import FeatureError
from model.features.categorical import DEFAULT_TABLE
from model.fids import integer_fids, slot_prefix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model.features.rows import Rows
    from ps.arrays import I64

_HOUR_US = 3_600_000_000
_DAY_US = 24 * _HOUR_US
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday; Monday is 0


@dataclass(frozen=True, slots=True)
class HourOfDay:
    """One id an example: the hour, 0 to 23, of the event time at a fixed offset from UTC."""

    name: str
    slot: int
    utc_offset_hours: float = 0.0
    table: str = DEFAULT_TABLE

    def __post_init__(self) -> None:
        slot_prefix(self.name, self.slot)
        _check_offset(self.name, self.utc_offset_hours)

    @property
    def columns(self) -> tuple[str, ...]:
        """The raw columns it reads: none."""
        return ()

    def extract(self, rows: Rows, done: Mapping[str, FidColumn]) -> FidColumn:
        """The fids."""
        del done
        hours = _local(rows.event_ts_us, self.utc_offset_hours) % _DAY_US // _HOUR_US
        return FidColumn(integer_fids(slot_prefix(self.name, self.slot), hours))


@dataclass(frozen=True, slots=True)
class DayOfWeek:
    """One id an example: the day, Monday 0 to Sunday 6, at a fixed offset from UTC."""

    name: str
    slot: int
    utc_offset_hours: float = 0.0
    table: str = DEFAULT_TABLE

    def __post_init__(self) -> None:
        slot_prefix(self.name, self.slot)
        _check_offset(self.name, self.utc_offset_hours)

    @property
    def columns(self) -> tuple[str, ...]:
        """The raw columns it reads: none."""
        return ()

    def extract(self, rows: Rows, done: Mapping[str, FidColumn]) -> FidColumn:
        """The fids."""
        del done
        days = (_local(rows.event_ts_us, self.utc_offset_hours) // _DAY_US + _EPOCH_WEEKDAY) % 7
        return FidColumn(integer_fids(slot_prefix(self.name, self.slot), days))


def _local(event_ts_us: I64, utc_offset_hours: float) -> I64:
    return event_ts_us + round(utc_offset_hours * _HOUR_US)


def _check_offset(feature: str, hours: float) -> None:
    if not -24 < hours < 24:
        raise FeatureError(feature, f"utc_offset_hours {hours} is not between -24 and 24")
