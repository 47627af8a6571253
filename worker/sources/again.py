"""A source once more, under other partition names: another pass is another stretch of stream."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from worker.skipping import merged

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ps.store.commit import Skips
    from worker.events import EventChunk, Source


def name_in_pass(partition: str, number: int) -> str:
    """What partition p is called in pass `number`: p in the first, which is 0, then "p#number"."""
    return f"{partition}#{number}" if number else partition


def skips_in_pass(skips: Skips, number: int) -> Skips:
    """What to leave out in pass `number`: what is ruled out of p is so in every pass over p.

    Names of passes ("p#2") may be in skips as well, and count for that pass alone.
    """
    if number == 0:
        return skips
    renamed = {name_in_pass(partition, number): ranges for partition, ranges in skips.items()}
    return merged(skips, renamed)


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
