"""From a chunk of raw records to a batch to learn from; what is no good goes to the quarantine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.rejection import without_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from model.assemble import ExampleSpec
    from model.batch import Batch
    from ps.clock import Clock
    from worker.event_time_guard import EventTimeGuard, GuardState
    from worker.events import EventChunk


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch and the chunk it came from: row i of both is the same example; the rest is rejected.

    guard: what the guard knew once it had seen this batch. Batches are prepared ahead of learning,
    so the guard itself knows too much to be saved with what was learned.
    """

    chunk: EventChunk
    batch: Batch
    guard: GuardState | None = None


def prepare(
    chunks: Iterable[EventChunk],
    examples: ExampleSpec,
    guard: EventTimeGuard | None,
    clock: Clock,
) -> Iterator[Prepared]:
    """Make a batch of every chunk, stamped with the wall time at which it was read.

    guard: judges event times in stream order; None lets all pass. Raises model.errors.FeatureError
    where the columns are not those the features need.
    """
    for chunk in chunks:
        ingest_us = clock.now_us()
        assembled = examples.assemble(chunk.columns, chunk.offsets, chunk.span, ingest_us)
        good, batch = chunk, assembled.batch
        if assembled.bad_rows:
            good = without_rows(chunk, {bad.row: bad.reason for bad in assembled.bad_rows})
        if guard is not None:
            reasons = guard.check(batch.event_ts_us).reasons
            if reasons:
                good = without_rows(good, reasons)
                batch = examples.assemble(good.columns, good.offsets, good.span, ingest_us).batch
        yield Prepared(good, batch, None if guard is None else guard.state)
