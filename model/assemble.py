"""From raw columns to a batch: features, label and event time, and the rows that are no good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model.batch import Batch, FidColumn
from model.event_time import OffsetClock
from model.features.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from model.event_time import EventTimeSpec
    from model.features import Extracted, FeatureSpec
    from model.labels import LabelSpec
    from ps.arrays import F32, I64
    from ps.stream import Span


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row of the raw columns that is not in the batch, and why."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class Assembled:
    """A batch of the good rows, in order, and the bad ones, in order."""

    batch: Batch
    bad_rows: Sequence[BadRow]


@dataclass(frozen=True, slots=True)
class ExampleSpec:
    """Everything that makes examples of raw columns; the features are what serving shares."""

    features: FeatureSpec
    label: LabelSpec
    event_time: EventTimeSpec | OffsetClock

    @property
    def columns(self) -> tuple[str, ...]:
        """The raw columns it reads, each once."""
        named = [*self.features.columns, self.label.column]
        if not isinstance(self.event_time, OffsetClock):
            named.append(self.event_time.column)
        return tuple(dict.fromkeys(named))

    def assemble(
        self, columns: pa.RecordBatch, offsets: I64, span: Span, ingest_us: int | None = None
    ) -> Assembled:
        """A training batch of the rows that can be learned from.

        columns: n rows. offsets: int64[n], of each row in its partition. span: all of the stream
        that the batch stands for, rows without an example included. A bad value is a bad row, with
        its reason; raises FeatureError for a missing column or one of a wrong type.
        """
        rows = Rows(columns, np.empty(0, np.int64))
        if isinstance(self.event_time, OffsetClock):
            event_ts_us = self.event_time.of(offsets)
        else:
            event_ts_us = self.event_time.extract(rows)
        labels = self.label.extract(rows)
        extracted = self.features.extract(columns, event_ts_us)
        reasons = {**extracted.reasons, **rows.reasons}
        batch = Batch(
            size=extracted.size,
            columns=extracted.columns,
            dense=extracted.dense,
            event_ts_us=event_ts_us,
            labels=labels,
            offsets=offsets,
            span=span,
            ingest_us=ingest_us,
        )
        if not reasons:
            return Assembled(batch, ())
        bad_rows = [BadRow(row, reasons[row]) for row in sorted(reasons)]
        good = np.ones(batch.size, np.bool_)
        good[[bad.row for bad in bad_rows]] = False
        return Assembled(select(batch, np.flatnonzero(good)), bad_rows)


def prediction_batch(extracted: Extracted, event_ts_us: I64) -> Batch:
    """A batch to predict, of all rows: refuse extracted.reasons first, or discard those answers."""
    return Batch(extracted.size, extracted.columns, extracted.dense, event_ts_us)


def select(batch: Batch, rows: I64) -> Batch:
    """The rows (int64[k]) of a batch, in the order given; span and ingest_us stay as they are."""
    labels: F32 | None = None if batch.labels is None else batch.labels[rows]
    return Batch(
        size=len(rows),
        columns={name: _select_fids(column, rows) for name, column in batch.columns.items()},
        dense=batch.dense[rows],
        event_ts_us=batch.event_ts_us[rows],
        labels=labels,
        offsets=None if batch.offsets is None else batch.offsets[rows],
        span=batch.span,
        ingest_us=batch.ingest_us,
    )


def _select_fids(column: FidColumn, rows: I64) -> FidColumn:
    if column.offsets is None:
        return FidColumn(column.fids[rows])
    begins = column.offsets[rows]
    lengths = column.offsets[rows + 1] - begins
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    return FidColumn(column.fids[np.repeat(begins, lengths) + within], offsets)
