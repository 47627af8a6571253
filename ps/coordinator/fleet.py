"""The places a job's processes run in, as the coordinator sees them: who is up, and how to reach it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ps.host.port import ShardPort


class ShardSeat(Protocol):
    """A place for one process of a shard: its leader, or a standby. Restarted in place by the fleet.

    name: for people, and the same over restarts. port: reaches whatever process sits there now.
    """

    @property
    def name(self) -> str:
        """Such as shard-3.1: the second seat of shard 3."""
        ...

    @property
    def port(self) -> ShardPort:
        """Its process."""
        ...

    @property
    def process(self) -> str | None:
        """HostStatus.process of the one that is up; None while it is down or starting."""
        ...


class Fleet(Protocol):
    """All places. What is down is started again by whoever implements this, without being asked."""

    def seats(self, shard: int) -> Sequence[ShardSeat]:
        """The seats of one shard: one, and one for each standby. None of them is special.

        None where there are none for a shard of that number (yet, or any more).
        """
        ...

    def resize(self, shards: int, deadline_s: float) -> None:
        """Have seats for so many shards, beside those there are; seats beyond are kept until retire().

        No effect where there are as many. May return before their processes are up.
        Raises ps.errors.JobBusyError where there is no room for them within the deadline.
        """
        ...

    def retire(self, shards: int) -> None:
        """End the processes of seats beyond so many shards."""
        ...

    def worker_process(self, worker: int) -> str | None:
        """WorkerReport.process of the worker that is up; None while it is down or starting."""
        ...

    @property
    def workers(self) -> int:
        """How many workers there are to be."""
        ...

    @property
    def replicas(self) -> int:
        """How many replicas there are to be."""
        ...

    def wait_for_change(self, timeout_s: float) -> bool:
        """Wait until a process came or went; False where none did in time."""
        ...
