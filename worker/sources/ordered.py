"""A stream in the order of a column, for data that lies on disk in another order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ps.stream import Span
from worker.arrow import one_batch
from worker.errors import SourceError
from worker.events import EventChunk, Rejected
from worker.rejection import without_rows
from worker.sources.delimited import DEFAULT_CHUNK_ROWS
from worker.sources.records import too_short

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ps.arrays import Bool
    from worker.arrow import ArrowArray
    from worker.events import Source

_NUMBER = r"^-?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"


class OrderedSource:
    """Another source's records, each partition sorted by one column; equal values keep their order.

    An offset is a record's place in this order. The rejected records, whose place cannot be known,
    come last; their reason names their offset in the inner source.

    The column sorts as numbers where at least half of its values are numbers (the others are then
    rejected), else as text, which is right for ISO times of one zone. Empty and null are rejected.

    Memory: the whole partition, at the width of its columns in Arrow (a MovieLens rating of four
    short texts: about 45 bytes), twice while it is being sorted. read does this anew each time.
    """

    def __init__(self, source: Source, by: str, *, chunk_rows: int = DEFAULT_CHUNK_ROWS) -> None:
        self._source = source
        self._by = by
        self._chunk_rows = chunk_rows

    def partitions(self) -> Sequence[str]:
        """Those of the inner source."""
        return self._source.partitions()

    def read(self, partition: str, begin: int) -> Iterator[EventChunk]:
        """Chunks of chunk_rows records from place begin; see worker.events.Source.

        A partition that cannot be read to its end cannot be ordered: nothing is yielded then.
        """
        columns, rejected = self._sorted(partition)
        n, total = columns.num_rows, columns.num_rows + len(rejected)
        if begin > total:
            raise SourceError(partition, begin, too_short(partition, total))
        for at in range(begin, total, self._chunk_rows):
            end = min(at + self._chunk_rows, total)
            good = min(end, n)
            yield EventChunk(
                Span(partition, at, end),
                np.arange(at, max(good, at)),
                columns.slice(min(at, n), max(good - at, 0)),
                rejected[max(at - n, 0) : max(end - n, 0)],
            )

    def _sorted(self, partition: str) -> tuple[pa.RecordBatch, list[Rejected]]:
        whole = self._whole(partition)
        if self._by not in whole.columns.schema.names:
            names = ", ".join(whole.columns.schema.names)
            raise SourceError(partition, 0, f"no column {self._by!r} to order by; there is {names}")
        keys, usable = _comparable(whole.columns[self._by])
        reasons = {
            int(
                row
            ): f"{self._by} is {whole.columns[self._by][int(row)].as_py()!r}, which has no order"
            for row in np.flatnonzero(~usable)
        }
        usable_only = without_rows(whole, reasons)
        order = pc.sort_indices(keys.filter(pa.array(usable)))
        n = len(order)
        rejected = [
            Rejected(partition, n + i, f"{r.reason} (record {r.offset} as stored)", r.record)
            for i, r in enumerate(usable_only.rejected)
        ]
        return usable_only.columns.take(order), rejected

    def _whole(self, partition: str) -> EventChunk:
        chunks = list(self._source.read(partition, 0))
        if not chunks:
            raise SourceError(partition, 0, "there are no records to order")
        columns = one_batch(pa.Table.from_batches([chunk.columns for chunk in chunks]))
        return EventChunk(
            Span(partition, 0, chunks[-1].span.end),
            np.concatenate([chunk.offsets for chunk in chunks]),
            columns,
            [r for chunk in chunks for r in chunk.rejected],
        )


def _comparable(column: ArrowArray) -> tuple[ArrowArray, Bool]:
    """The column as something that sorts rightly, and which of its values are usable: bool[n]."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _comparable_text(column)
    usable = _as_mask(pc.is_valid(column))
    if pa.types.is_floating(kind):
        usable &= ~_as_mask(pc.is_nan(column))
    return column, usable


def _comparable_text(column: ArrowArray) -> tuple[ArrowArray, Bool]:
    numeric = pc.match_substring_regex(column, _NUMBER)
    are_numbers = _as_mask(numeric)
    if 2 * are_numbers.sum() < len(column):
        return column, _as_mask(pc.not_equal(column, pa.scalar("")))
    numbers = pc.if_else(numeric.fill_null(False), column, "0")
    try:
        return numbers.cast(pa.int64()), are_numbers
    except pa.ArrowInvalid:  # fractions, or beyond 64 bits
        return numbers.cast(pa.float64()), are_numbers


def _as_mask(values: ArrowArray) -> Bool:
    return np.asarray(values.fill_null(False).to_numpy(zero_copy_only=False), np.bool_)
