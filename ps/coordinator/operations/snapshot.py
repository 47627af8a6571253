"""Snapshots: a restore point of all shards at one position, kept under a name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ps.admin import restore_points
from ps.coordinator.holding import held
from ps.errors import JobBusyError

if TYPE_CHECKING:
    from ps.admin.target import RestorePoint
    from ps.coordinator.coordinator import Coordinator
    from ps.store.commit import Commit

HOLD_S = 60.0


def create_snapshot(coordinator: Coordinator, name: str) -> RestorePoint:
    """Make a restore point, and keep it:

    1. refuse a name that cannot be given
    2. hold the workers, with all shards at one position
    3. seal, save and commit; workers go on
    4. pin the restore point

    A crash before 4 leaves a restore point like others. Raises SpecError, JobBusyError, StoreError,
    ShardUnavailableError.
    """
    job = coordinator.job
    restore_points.check_name(job.keeping, name)  # 1
    with held(job, "a snapshot", HOLD_S):  # 2
        commit = commit_present(coordinator, forced=True)  # 3
    return restore_points.pin(job.keeping, name, commit.at.epoch, job.clock)  # 4


def commit_present(coordinator: Coordinator, *, forced: bool = False) -> Commit:
    """A restore point of what all shards hold, while workers are held: the newest, where nothing was
    learned since. Raises JobBusyError where shards turn out to stand apart, NoRestorePointError where
    nothing was ever learned.
    """
    commits = coordinator.commits
    commit = commits.commit_all() if forced else commits.commit(whole=True)
    if commit is None:
        commit = coordinator.job.keeping.present()
    if not commit.aligned:
        raise JobBusyError(
            f"at epoch {commit.at.epoch} the shards do not stand at one position yet; try again"
        )
    return commit
