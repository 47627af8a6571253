"""A job on many processes as an operator sees it: the calls of the admin service."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from ps.admin import journal, restore_points
from ps.admin.journal import Journal
from ps.coordinator.operations import looking
from ps.coordinator.operations.failover import fail_over
from ps.coordinator.operations.resharding import plan_reshard, reshard
from ps.coordinator.operations.rollback import plan_rollback, roll_back
from ps.coordinator.operations.snapshot import create_snapshot
from ps.coordinator.status import job_status
from ps.errors import JobBusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ps.admin.target import (
        FailoverReport,
        JobStatus,
        Pausable,
        PruneReport,
        ReshardReport,
        RestorePoint,
        RollbackReport,
        TableStatus,
    )
    from ps.coordinator.coordinator import Coordinator
    from ps.coordinator.knowledge import StreamKnowledge
    from ps.inspected import InspectedRow, InspectedSlot
    from ps.store.commit import Skips

T = TypeVar("T")

# One operation at a time; another waits so long for it.
_TURN_S = 10.0


class ClusterTarget:
    """See ps.admin.target.AdminTarget. What is paused is paused until this coordinator ends."""

    def __init__(self, coordinator: Coordinator, knowledge: StreamKnowledge) -> None:
        self._coordinator = coordinator
        self._knowledge = knowledge
        self._job = coordinator.job
        self._journal = Journal(self._job.say, self._job.clock)
        self._started_us = self._job.clock.now_us()
        self._doing: str | None = None
        self._pausing = threading.Lock()
        self._paused: tuple[Pausable, ...] = ()

    def status(self) -> JobStatus:
        """See AdminTarget."""
        return job_status(
            self._coordinator,
            self._knowledge,
            started_us=self._started_us,
            doing=self._doing,
            paused=self._paused,
        )

    def tables(self) -> list[TableStatus]:
        """See AdminTarget."""
        return looking.tables(self._job)

    def inspect_fid(self, fid: int, table: str | None) -> list[InspectedRow]:
        """See AdminTarget."""
        return looking.inspect_fid(self._job, fid, table)

    def inspect_slot(self, slot: int, table: str | None, rows: int) -> list[InspectedSlot]:
        """See AdminTarget."""
        return looking.inspect_slot(self._job, slot, table, rows)

    def restore_points(self) -> list[RestorePoint]:
        """See AdminTarget."""
        return restore_points.listed(self._job.keeping)

    def create_snapshot(self, name: str) -> RestorePoint:
        """See AdminTarget. Training stands still while what was learned since the last restore point
        is saved.
        """
        return self._journal.note(
            f"snapshot {name}",
            lambda: self._alone(None, lambda: create_snapshot(self._coordinator, name)),
            journal.snapshot_told,
        )

    def prune(self, *, dry_run: bool) -> PruneReport:
        """See AdminTarget."""
        if dry_run:
            return restore_points.pruned(self._job.keeping, dry_run=True)
        return self._journal.note(
            "prune",
            lambda: restore_points.pruned(self._job.keeping, dry_run=False),
            journal.prune_told,
        )

    def rollback(self, epoch: int, skips: Skips, *, dry_run: bool) -> RollbackReport:
        """See AdminTarget."""
        coordinator, knowledge = self._coordinator, self._knowledge
        if dry_run:
            return plan_rollback(coordinator, knowledge, epoch, skips)
        return self._journal.note(
            f"{'rollback' if skips else 'restore'} to epoch {epoch}",
            lambda: self._alone(
                "rolling back", lambda: roll_back(coordinator, knowledge, epoch, skips)
            ),
            journal.rollback_told,
        )

    def reshard(self, shards: int, *, dry_run: bool) -> ReshardReport:
        """See AdminTarget."""
        if dry_run:
            return plan_reshard(self._coordinator, shards)
        return self._journal.note(
            f"reshard to {shards}",
            lambda: self._alone("resharding", lambda: reshard(self._coordinator, shards)),
            journal.reshard_told,
        )

    def failover(self, shard: int) -> FailoverReport:
        """See AdminTarget."""
        return self._journal.note(
            f"failover of shard {shard}",
            lambda: self._alone("failing over", lambda: fail_over(self._coordinator, shard)),
            journal.failover_told,
        )

    def pause(self, what: Pausable) -> None:
        """See AdminTarget. Never waits: workers stop once what they have under way is done."""

        def pause() -> None:
            with self._pausing:
                if what in self._paused:
                    return
                self._paused = (*self._paused, what)
                if what == "training":
                    self._job.holds.take()
                else:
                    self._coordinator.publishing = False

        self._journal.note(f"pause {what}", pause, lambda _: "paused")

    def resume(self, what: Pausable) -> None:
        """See AdminTarget."""

        def resume() -> None:
            with self._pausing:
                if what not in self._paused:
                    return
                self._paused = tuple(paused for paused in self._paused if paused != what)
                if what == "training":
                    self._job.holds.let_go()
                else:
                    self._coordinator.publishing = True

        self._journal.note(f"resume {what}", resume, lambda _: "goes on")

    def expire(self) -> Mapping[str, int]:
        """See AdminTarget."""
        return self._journal.note("expire", lambda: looking.expire(self._job), journal.expire_told)

    def _alone(self, state: str | None, do: Callable[[], T]) -> T:
        with self._turn_of(state):
            return do()

    @contextmanager
    def _turn_of(self, state: str | None) -> Iterator[None]:
        """One operation at a time, that status tells of meanwhile."""
        if not self._coordinator.operating.acquire(timeout=_TURN_S):
            raise JobBusyError(
                f"the job is {self._doing or 'at another operation'}; try again once that is done"
            )
        self._doing = state
        try:
            yield
        finally:
            self._doing = None
            self._coordinator.operating.release()
