"""A source made of lists, for tests: it cuts its chunks wherever the test wants."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ps.stream import Span
from worker.errors import SourceError
from worker.events import EventChunk, Rejected

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass
class ListSource:
    """Partitions of n records; record i has value i, or is rejected where i is in bad."""

    sizes: dict[str, int]
    chunk_sizes: list[int] = field(default_factory=lambda: [3])
    bad: frozenset[int] = frozenset()
    fails: bool = False
    open_reads: int = 0

    def partitions(self) -> Sequence[str]:
        return list(self.sizes)

    def read(self, partition: str, begin: int) -> Iterator[EventChunk]:
        self.open_reads += 1
        try:
            at, k = begin, 0
            while at < self.sizes[partition]:
                end = min(at + self.chunk_sizes[k % len(self.chunk_sizes)], self.sizes[partition])
                yield self.chunk(partition, at, end)
                at, k = end, k + 1
            if self.fails:
                raise SourceError(partition, at, "torn")
        finally:
            self.open_reads -= 1

    def chunk(self, partition: str, begin: int, end: int) -> EventChunk:
        good = [i for i in range(begin, end) if i not in self.bad]
        return EventChunk(
            Span(partition, begin, end),
            np.array(good, np.int64),
            pa.RecordBatch.from_pydict({"value": pa.array(good, pa.int64())}),
            [Rejected(partition, i, "bad", str(i)) for i in range(begin, end) if i in self.bad],
        )


def consistent(chunk: EventChunk) -> None:
    """Every position of the span is either a row or a rejected record, in order."""
    rows = chunk.offsets.tolist()
    rejected = [r.offset for r in chunk.rejected]
    assert rows == sorted(rows)
    assert rejected == sorted(rejected)
    assert sorted(rows + rejected) == list(range(chunk.span.begin, chunk.span.end))
    assert chunk.columns.num_rows == len(rows)
