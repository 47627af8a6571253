"""The Avazu click log as published: a CSV whose event time is `hour`, YYMMDDHH."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from worker.errors import SourceError
from worker.events import EventChunk
from worker.rejection import without_rows
from worker.sources.delimited import DEFAULT_CHUNK_ROWS, DelimitedSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class AvazuSource:
    """The Avazu click log: its own columns as text, and event_ts_us (int64) out of `hour`.

    hour is YYMMDDHH in UTC; a record with any other is rejected. path: file, folder or glob.
    """

    def __init__(self, path: str, *, chunk_rows: int = DEFAULT_CHUNK_ROWS) -> None:
        self._source = DelimitedSource(path, chunk_rows=chunk_rows)

    def partitions(self) -> Sequence[str]:
        """One per file, sorted by name."""
        return self._source.partitions()

    def read(self, partition: str, begin: int) -> Iterator[EventChunk]:
        """Chunks from ordinal begin; see worker.events.Source."""
        if missing := {"click", "hour"} - set(self._source.columns(partition)):
            raise SourceError(
                partition, 0, f"no column {', '.join(sorted(missing))}: this is no Avazu log"
            )
        instants: dict[str, int | None] = {}
        for chunk in self._source.read(partition, begin):
            hours = [str(hour) for hour in chunk.columns["hour"].to_pylist()]
            for hour in set(hours) - instants.keys():
                instants[hour] = _hour_us(hour)
            wrong = {
                row: f"hour {hour!r} is not YYMMDDHH"
                for row, hour in enumerate(hours)
                if instants[hour] is None
            }
            for row in wrong:  # odd values, of which there may be any number, are not remembered
                instants.pop(hours[row], None)
            good = without_rows(chunk, wrong)
            columns = {name: good.columns[name] for name in good.columns.schema.names}
            times = [instants[str(hour)] for hour in good.columns["hour"].to_pylist()]
            columns["event_ts_us"] = pa.array(times, pa.int64())
            batch = pa.RecordBatch.from_pydict(columns)
            yield EventChunk(good.span, good.offsets, batch, good.rejected)


def _hour_us(hour: str) -> int | None:
    if len(hour) != 8 or not (hour.isascii() and hour.isdigit()):
        return None
    try:
        instant = datetime.strptime(hour, "%y%m%d%H").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(instant.timestamp()) * 1_000_000
