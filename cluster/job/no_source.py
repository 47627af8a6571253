"""A source with nothing in it, for looking at a plan where the data is not at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from worker.events import EventChunk


class NoSource:
    """No partitions at all."""

    def partitions(self) -> Sequence[str]:
        """None."""
        return ()

    def read(self, partition: str, begin: int) -> Iterator[EventChunk]:
        """Raises SourceError: there is nothing to read."""
        raise SourceError(partition, begin, "this plan was made without its data")
