"""A job with its coordinator in one process: started, killed, started again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ps.clock import SystemClock
from ps.coordinator.coordinator import Coordinator
from ps.coordinator.plan import JobPlan, StoreKeeping
from ps.fingerprint import code_fingerprint
from ps.store.catalog import Catalog
from ps.store.restore import restore_shards
from ps.store.upkeep import UpkeepPolicy
from tests.ps.coordinator import stream
from tests.ps.coordinator.fleet import DEADLINE_S, LocalFleet, until

if TYPE_CHECKING:
    from pathlib import Path

    from ps.shard import Shard
    from ps.store.commit import Commit, Skips


class World:
    """A fleet, and the coordinator that is in charge of it."""

    def __init__(
        self,
        folder: Path,
        *,
        shards: int = 2,
        standbys: int = 0,
        workers: int = 1,
        partitions: dict[str, int] | None = None,
        upkeep: UpkeepPolicy | None = None,
        commit_every_s: float = 0.05,
    ) -> None:
        self.clock = SystemClock()
        self.said: list[str] = []
        self.shards = shards
        self.fleet = LocalFleet(
            folder,
            self.clock,
            shards=shards,
            standbys=standbys,
            workers=workers,
            partitions={"p": 400, "q": 300} if partitions is None else partitions,
        )
        self.upkeep = upkeep or UpkeepPolicy(compact_blocks=20, prune_commits=10)
        self.commit_every_s = commit_every_s

    def plan(self, **changes: Any) -> JobPlan:
        settings: dict[str, Any] = {
            "name": "job",
            "specs_for": stream.specs_for,
            "shards": self.shards,
            "store": StoreKeeping(self.fleet.url, self.commit_every_s, self.upkeep),
            "partitions": lambda: sorted(self.fleet.partitions),
            "merge_states": stream.merged,
            "fingerprint": code_fingerprint(),
            "seal_interval_s": 0.03,
        }
        return JobPlan(**(settings | changes))

    def coordinate(self, *, successor: bool = False, **changes: Any) -> Coordinator:
        """Have a (new) coordinator in charge."""
        coordinator = Coordinator(
            self.plan(**changes),
            self.fleet,
            clock=self.clock,
            say=self.said.append,
            successor=successor,
        )
        self.fleet.coordinator = coordinator
        coordinator.start()
        return coordinator

    def started(self) -> Coordinator:
        """Everything up."""
        coordinator = self.coordinate()
        coordinator.wait_whole(DEADLINE_S)
        for worker in self.fleet.pool:
            worker.start()
        return coordinator

    def coordinator_dies(self) -> Coordinator:
        """Another takes its place."""
        assert self.fleet.coordinator is not None
        dead, self.fleet.coordinator = self.fleet.coordinator, None
        dead.abandon(0.2)
        return self.coordinate(successor=True)

    @property
    def coordinator(self) -> Coordinator:
        assert self.fleet.coordinator is not None
        return self.fleet.coordinator

    def limit(self, upto: int | None) -> None:
        """Have workers read no further, for now."""
        for worker in self.fleet.pool:
            worker.limit = upto

    def finish(self, *, saved: bool = False) -> None:
        """Wait until the stream has been read to its end, or as far as it may be; and was saved."""
        limits = [worker.limit for worker in self.fleet.pool if worker.limit is not None]
        ends = {p: min([end, *limits]) for p, end in self.fleet.partitions.items()}

        def is_read() -> bool:
            at = {partition: self.position(partition) for partition in ends}
            return at == ends and self.coordinator.is_finished

        until(is_read, f"the end of the stream; {self.said[-8:]}")
        if saved:
            until(lambda: self._saved() == ends, f"all is saved; {self.said[-8:]}")

    def _saved(self) -> dict[str, int] | None:
        commit = Catalog(self.fleet.location).newest_whole()
        return None if commit is None else commit.positions

    def newest(self) -> Commit:
        """As the store has it."""
        commit = Catalog(self.fleet.location).newest_whole()
        assert commit is not None
        return commit

    def commit_of(self, epoch: int) -> Commit:
        """A restore point."""
        return Catalog(self.fleet.location).read_epoch(epoch)

    def position(self, partition: str) -> int:
        """Up to where any process has learned of a partition."""
        hosts = [seat.host for seat in self.fleet.all_seats()]
        found = [host.hello().positions.get(partition, 0) for host in hosts if host is not None]
        return max(found, default=0)

    def counts(self, commit: Commit) -> dict[int, int]:
        """What a restore point has counted."""
        return stream.counts_in(self.shards_of(commit))

    def shards_of(self, commit: Commit) -> list[Shard]:
        """The shards of a restore point."""
        specs = stream.specs_for(len(commit.shards))
        return restore_shards(self.fleet.location, commit, specs)

    def check_at_end(self, skips: Skips | None = None) -> Commit:
        """Stop the job, and look at what it leaves."""
        self.finish()
        self.coordinator.stop()
        commit = self.newest()
        assert commit.positions == self.fleet.partitions
        assert commit.aligned
        assert self.counts(commit) == stream.expected(commit.positions, skips)
        return commit

    def close(self) -> None:
        if self.fleet.coordinator is not None:
            self.fleet.coordinator.abandon()
        self.fleet.close()
