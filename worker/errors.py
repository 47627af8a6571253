"""The tree of errors of the learning side."""

from __future__ import annotations

from ps.errors import PortableError


class WorkerError(PortableError):
    """Anything the learning side refuses or fails to do."""


class SourceSpecError(WorkerError):
    """A description of a source that cannot work; the message says what to change."""


class SourceError(WorkerError):
    """A source that cannot be read, or not further; carries the partition and the offset."""

    def __init__(self, partition: str, offset: int, reason: str) -> None:
        self.partition = partition
        self.offset = offset
        self.reason = reason
        super().__init__(f"{partition} at record {offset}: {reason}")


class MetricsError(WorkerError):
    """Metrics that cannot be merged or restored: another shape, or not a dump of metrics."""


class WorkerStateError(WorkerError):
    """Bytes that are no state of a worker, or one too large to be saved."""
