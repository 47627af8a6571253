"""A source once more, under other partition names: another pass is another stretch of stream."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from worker.events import EventChunk, Source


class Again:
    """Pass number `number` (from 1) over a source: partition p becomes "p#number".

    Shards keep a position per partition, so what was learned in one pass does not count as learned
    in the next.
    """

    def __init__(self, source: Source, number: int) -> None:
        self._source = source
        self._suffix = f"#{number}"

    def partitions(self) -> Sequence[str]:
        """The source's partitions with the pass number."""
        return [partition + self._suffix for partition in self._source.partitions()]

    def read(self, partition: str, begin: int) -> Iterator[EventChunk]:
        """As the source's own."""
        for chunk in self._source.read(partition.removesuffix(self._suffix), begin):
            yield replace(
                chunk,
                span=replace(chunk.span, partition=partition),
                rejected=[replace(one, partition=partition) for one in chunk.rejected],
            )
