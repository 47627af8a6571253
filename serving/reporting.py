"""How a replica stands, as an operator sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ps.admin.target import ReplicaStatus

if TYPE_CHECKING:
    from serving.follower import Follower
    from serving.replica import Replica


def status_of(
    address: str, replica: Replica, follower: Follower | None, fault: str | None = None
) -> ReplicaStatus:
    """A replica and what keeps it current (None: nothing yet). fault: what else is wrong, if anything."""
    status = replica.status()
    following = None if follower is None else follower.status()
    if following is not None and following.failures_in_a_row:
        fault = following.last_error
    return ReplicaStatus(
        address=address,
        ready=status.ready,
        epochs=[shard.epoch for shard in status.version.shards],
        generations=[shard.generation for shard in status.version.shards],
        rows=status.rows,
        staleness_p50_s=status.staleness.p50_s,
        staleness_p99_s=status.staleness.p99_s,
        last_error=fault,
        age_s=status.staleness_s,
    )
