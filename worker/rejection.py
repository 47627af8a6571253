"""Taking rows out of a chunk that turned out to be unusable."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from worker.arrow import where
from worker.events import EventChunk, Rejected

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_RECORD_CHARS = 1_000


def without_rows(chunk: EventChunk, reasons: Mapping[int, str]) -> EventChunk:
    """The chunk with the rows named in reasons (by row number) turned into rejected records.

    Their text is the row as JSON, cut to what a dead-letter file needs.
    """
    if not reasons:
        return chunk
    rows = sorted(reasons)
    rejected = [
        Rejected(
            chunk.span.partition,
            int(chunk.offsets[row]),
            reasons[row],
            json.dumps(chunk.columns.slice(row, 1).to_pylist()[0], default=str)[:_MAX_RECORD_CHARS],
        )
        for row in rows
    ]
    good = np.ones(len(chunk.offsets), np.bool_)
    good[rows] = False
    return EventChunk(
        chunk.span,
        chunk.offsets[good],
        where(chunk.columns, good),
        sorted([*chunk.rejected, *rejected], key=lambda r: r.offset),
        chunk.skipped,
    )
