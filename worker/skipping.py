"""Leaving out ranges of the stream that somebody has ruled out, without moving any batch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from worker.arrow import where

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ps.store.commit import Skips
    from worker.events import EventChunk


def leave_out(chunks: Iterable[EventChunk], skips: Skips) -> Iterator[EventChunk]:
    """The same spans, without the records that lie in a range of skips: rows and rejected ones.

    skips: by partition, ranges [begin, end) of offsets, in any order. A chunk all of whose records
    are left out still comes, without rows, so that positions move past it.
    """
    try:
        for chunk in chunks:
            ranges = skips.get(chunk.span.partition)
            yield _without(chunk, ranges) if ranges else chunk
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()


def merged(*skips: Skips) -> Skips:
    """All of these ranges, ascending, those that touch or overlap as one; empty ones are dropped."""
    gathered: dict[str, list[tuple[int, int]]] = {}
    for each in skips:
        for partition, ranges in each.items():
            gathered.setdefault(partition, []).extend((b, e) for b, e in ranges if b < e)
    return {partition: _joined(ranges) for partition, ranges in gathered.items() if ranges}


def without(skips: Skips, other: Skips) -> Skips:
    """What of these ranges lies in none of the other's, ascending."""
    left: dict[str, list[tuple[int, int]]] = {}
    for partition, ranges in merged(skips).items():
        for begin, end in ranges:
            at = begin
            for taken_from, taken_to in _joined(other.get(partition, ())):
                if taken_to <= at or taken_from >= end:
                    continue
                left.setdefault(partition, []).append((at, taken_from))
                at = taken_to
            left.setdefault(partition, []).append((at, end))
    return merged({partition: tuple(ranges) for partition, ranges in left.items()})


def _joined(ranges: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(ranges):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((begin, end))
    return tuple(joined)


def _without(chunk: EventChunk, ranges: Sequence[tuple[int, int]]) -> EventChunk:
    span = chunk.span
    within = [
        (max(begin, span.begin), min(end, span.end))
        for begin, end in _joined(ranges)
        if begin < span.end and end > span.begin
    ]
    if not within:
        return chunk
    keep = np.ones(len(chunk.offsets), np.bool_)
    for begin, end in within:
        first, last = np.searchsorted(chunk.offsets, (begin, end))
        keep[first:last] = False
    return replace(
        chunk,
        offsets=chunk.offsets[keep],
        columns=where(chunk.columns, keep),
        rejected=[
            one
            for one in chunk.rejected
            if not any(begin <= one.offset < end for begin, end in within)
        ],
        skipped=chunk.skipped + sum(end - begin for begin, end in within),
    )
