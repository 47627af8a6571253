"""Batches that cover spans of exactly batch_size positions, whatever chunks a source yields."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ps.stream import Span
from worker.arrow import concatenated
from worker.errors import SourceError
from worker.events import EventChunk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ps.arrays import I64
    from worker.events import Rejected, Source


def batches(
    source: Source,
    partition: str,
    begin: int,
    batch_size: int,
    *,
    stop: int | None = None,
    cuts: Sequence[int] = (),
) -> Iterator[EventChunk]:
    """Spans [begin + k * batch_size, ...) of one partition, gapless and in order.

    The last is shorter where the partition ends or at stop (exclusive, None means the end). No span
    straddles an offset of cuts, the positions that some shard has reached; after a cut the next span
    begins there, in full length. The result depends on these arguments alone, not on how the source
    cuts its chunks. A SourceError comes after the records that were read before it.
    """
    if batch_size < 1 or begin < 0:
        raise ValueError(f"batch_size {batch_size} must be above 0 and begin {begin} not below")
    if stop is not None and begin >= stop:
        return
    fences = sorted({cut for cut in (*cuts, stop) if cut is not None and cut > begin})
    end = _span_end(begin, batch_size, fences)
    parts: list[EventChunk] = []
    chunks = source.read(partition, begin)
    try:
        position = begin
        for chunk in chunks:
            _expect(position, chunk.span)
            position = chunk.span.end
            while chunk.span.end >= end:
                head, chunk = split_at(chunk, end)
                yield join([*parts, head])
                parts = []
                if end == stop:
                    return
                end = _span_end(end, batch_size, fences)
            if chunk.span.begin < chunk.span.end:
                parts.append(chunk)
    except SourceError:
        if parts:
            yield join(parts)
        raise
    finally:
        _close(chunks)
    if parts:
        yield join(parts)


def interleaved(
    source: Source,
    begins: Mapping[str, int],
    batch_size: int,
    *,
    stops: Mapping[str, int] | None = None,
    cuts: Mapping[str, Sequence[int]] | None = None,
) -> Iterator[EventChunk]:
    """Batches of several partitions in turn: the one furthest behind goes next, ties in order.

    begins: by partition, in the order that breaks ties. Equal partitions are thereby read round
    robin; and since the turn is a function of the positions alone, a run that resumes takes the same
    turns as one that was never interrupted.
    """
    streams = {
        partition: batches(
            source,
            partition,
            begin,
            batch_size,
            stop=(stops or {}).get(partition),
            cuts=(cuts or {}).get(partition, ()),
        )
        for partition, begin in begins.items()
    }
    positions = dict(begins)
    try:
        while positions:
            partition = min(positions, key=positions.__getitem__)
            batch = next(streams[partition], None)
            if batch is None:
                del positions[partition]
                continue
            positions[partition] = batch.span.end
            yield batch
    finally:
        for stream in streams.values():
            _close(stream)


def split_at(chunk: EventChunk, offset: int) -> tuple[EventChunk, EventChunk]:
    """The records before offset and those from it on; columns are shared, not copied."""
    span = chunk.span
    row = int(np.searchsorted(chunk.offsets, offset))
    before = [r for r in chunk.rejected if r.offset < offset]
    after = [r for r in chunk.rejected if r.offset >= offset]
    return (
        EventChunk(
            Span(span.partition, span.begin, offset),
            chunk.offsets[:row],
            chunk.columns.slice(0, row),
            before,
        ),
        EventChunk(
            Span(span.partition, offset, span.end),
            chunk.offsets[row:],
            chunk.columns.slice(row),
            after,
        ),
    )


def join(chunks: Sequence[EventChunk]) -> EventChunk:
    """One chunk out of adjacent ones (at least one); columns are copied unless it is a single one."""
    filled = [chunk for chunk in chunks if chunk.span.begin < chunk.span.end] or list(chunks[:1])
    if len(filled) == 1:
        return filled[0]
    rows = [chunk.columns for chunk in filled if chunk.columns.num_rows] or [filled[0].columns]
    rejected: list[Rejected] = []
    offsets: list[I64] = []
    for chunk in filled:
        rejected += chunk.rejected
        offsets.append(chunk.offsets)
    return EventChunk(
        Span(filled[0].span.partition, filled[0].span.begin, filled[-1].span.end),
        np.concatenate(offsets),
        concatenated(rows),
        rejected,
    )


def _span_end(begin: int, batch_size: int, fences: Sequence[int]) -> int:
    return min([begin + batch_size, *(fence for fence in fences if fence > begin)])


def _expect(position: int, span: Span) -> None:
    if span.begin != position:
        raise SourceError(
            span.partition,
            position,
            f"the source went on at {span.begin} instead; this is a defect of the source",
        )


def _close(stream: Iterator[EventChunk]) -> None:
    close = getattr(stream, "close", None)
    if close is not None:
        close()
