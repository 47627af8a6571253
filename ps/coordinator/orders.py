"""What workers and replicas report to the coordinator, and what they are told to do: states, not events.

Each reports every so often how it stands and is told how it should stand; a lost message or a restart
on either side is made up for by the next. What a worker knows of the stream is opaque bytes here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.admin.target import ReplicaStatus
    from ps.directory import Directory
    from ps.store.commit import Skips
    from ps.stream import Positions

# waiting: for partitions, shards or a release. held: stands still as told, nothing under way.
WorkerPhase = Literal["waiting", "learning", "held", "finished", "failed"]


@dataclass(frozen=True, slots=True)
class Assignment:
    """The partitions of the stream that one worker reads, from where the shards stand.

    generation: of this ownership; higher than any before of these partitions. state: what was known
    of the stream when the assignment was made (WorkerState.encode), of which only the event-time
    guard and the positions counted so far are taken up: metrics begin at nothing, the coordinator
    adds them up. skips: ranges that are left out.
    """

    generation: int
    partitions: tuple[str, ...]
    skips: Skips
    state: bytes | None = None


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """How a worker stands.

    process: drawn anew whenever its process starts. generation: of the assignment it works on, None
    without one. state: WorkerState.encode() as of positions, of what it did itself under this
    assignment. counted: by partition, up to where that state has counted. held: the hold it obeys.
    suspects: shards that do not answer. stages: seconds spent so far, by stage (read, pull, compute,
    push, wait). error: why it failed; the job then stops.
    """

    worker: int
    process: str
    node: str
    fingerprint: str
    phase: WorkerPhase
    generation: int | None = None
    state: bytes | None = None
    counted: Positions = field(default_factory=dict)
    examples: int = 0
    examples_per_s: float = 0.0
    event_ts_us: int = 0
    held: int | None = None
    suspects: tuple[int, ...] = ()
    stages: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class WorkerOrders:
    """What a worker is to do.

    assignment: None: nothing (yet). hold: a number: stand still with nothing under way and report it;
    None: go on. stop: end.
    """

    directory: Directory
    assignment: Assignment | None = None
    hold: int | None = None
    stop: bool = False


@dataclass(frozen=True, slots=True)
class ReplicaReport:
    """How a replica stands. shards: how many it follows."""

    replica: int
    process: str
    node: str
    fingerprint: str
    shards: int
    status: ReplicaStatus


@dataclass(frozen=True, slots=True)
class ReplicaOrders:
    """What a replica is to do. publishing: False: apply nothing from now on. stop: end."""

    directory: Directory
    publishing: bool = True
    stop: bool = False


class Coordination(Protocol):
    """The coordinator as workers and replicas see it.

    Raises JobBusyError where it cannot be reached for now: whoever asks goes on as it was told last.
    """

    def work(self, report: WorkerReport) -> WorkerOrders:
        """Report, and be told what to do."""
        ...

    def serve(self, report: ReplicaReport) -> ReplicaOrders:
        """Report, and be told what to do."""
        ...
