"""Events as a source hands them over: raw columns with their place in the stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from ps.arrays import I64
    from ps.stream import Span


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that could not be learned from: where it stood, why, and what it said."""

    partition: str
    offset: int
    reason: str
    record: str


@dataclass(frozen=True, slots=True)
class EventChunk:
    """Consecutive records of one partition, parsed into columns; the caller owns it.

    span covers every record read, good or not. offsets: int64[n], the offset of each row of
    columns, strictly increasing, within span. rejected: the records of span that have no row.
    skipped: how many records of span were left out on purpose: they are neither rows nor rejected.
    """

    span: Span
    offsets: I64
    columns: pa.RecordBatch
    rejected: Sequence[Rejected] = ()
    skipped: int = 0


class Source(Protocol):
    """A replayable stream: the same offset always names the same record."""

    def partitions(self) -> Sequence[str]:
        """Names of the partitions, in a fixed order."""
        ...

    def read(self, partition: str, begin: int) -> Iterator[EventChunk]:
        """Chunks from offset begin to the end of the partition, in order, without holes.

        Raises worker.errors.SourceError when the partition cannot be read (further); chunks
        already yielded stay valid.
        """
        ...
