"""Events enriched with attributes looked up by key, as a user's or a movie's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from worker.errors import SourceSpecError
from worker.events import EventChunk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from worker.events import Source


@dataclass(frozen=True, slots=True)
class Attributes:
    """A small table held in memory: for each value of key, once, the other columns."""

    key: str
    table: pa.RecordBatch


class JoinedSource:
    """Another source's chunks with the columns of some Attributes added.

    A key that a table lacks gets nulls. Of a key that a table holds twice, the first counts.
    """

    def __init__(self, source: Source, attributes: Sequence[Attributes]) -> None:
        self._source = source
        self._attributes = attributes
        for each in attributes:
            if each.key not in each.table.schema.names:
                raise SourceSpecError(f"the table to join by {each.key!r} has no such column")

    def partitions(self) -> Sequence[str]:
        """Those of the inner source."""
        return self._source.partitions()

    def read(self, partition: str, begin: int) -> Iterator[EventChunk]:
        """The inner source's chunks, wider; see worker.events.Source."""
        for chunk in self._source.read(partition, begin):
            columns = {name: chunk.columns[name] for name in chunk.columns.schema.names}
            for each in self._attributes:
                rows = pc.index_in(columns[each.key], each.table[each.key])
                found = each.table.take(rows)
                columns |= {name: found[name] for name in found.schema.names if name != each.key}
            yield EventChunk(
                chunk.span, chunk.offsets, pa.RecordBatch.from_pydict(columns), chunk.rejected
            )
