"""The job at a glance, put together from what its processes said last."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from ps.admin.target import JobStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ps.admin.target import Pausable, ShardStatus
    from ps.coordinator.coordinator import Coordinator
    from ps.coordinator.knowledge import StreamKnowledge

# A worker or replica that has not been heard of for longer says nothing of now.
_HEARD_WITHIN_S = 10.0


def job_status(
    coordinator: Coordinator,
    knowledge: StreamKnowledge,
    *,
    started_us: int,
    doing: str | None,
    paused: Sequence[Pausable],
) -> JobStatus:
    """doing: the operation under way, as state; None: whatever the workers are at."""
    job = coordinator.job
    shards = shard_statuses(coordinator)
    stream = knowledge.status(job.members.merged())
    live = job.ownership.live()
    reports = [report for worker, report in job.members.workers().items() if worker in live]
    is_learning = doing is None and "training" not in paused
    return JobStatus(
        job=job.plan.name,
        model=job.specs[0].model,
        version=_version(),
        pid=os.getpid(),
        host=socket.gethostname(),
        started_us=started_us,
        now_us=job.clock.now_us(),
        state=doing or _state(coordinator, paused),
        paused=tuple(paused),
        generation=job.keeping.generation,
        epoch=max((shard.epoch for shard in shards), default=0),
        examples=stream.examples,
        examples_per_s=sum(one.examples_per_s for one in reports) if is_learning else 0.0,
        event_ts_us=max(
            [*(shard.event_ts_us for shard in shards), *(one.event_ts_us for one in reports)],
            default=0,
        ),
        metrics=stream.metrics,
        quarantined=stream.quarantined,
        skips=job.ownership.skips,
        shards=shards,
        replicas=[report.status for report in job.members.replicas(_HEARD_WITHIN_S)],
        store=job.keeping.status(),
    )


def shard_statuses(coordinator: Coordinator) -> list[ShardStatus]:
    """The leaders as they were seen last, with the epoch of the standby furthest on."""
    job, seen = coordinator.job, coordinator.supervisor.seen
    found = []
    for shard, led in sorted(job.leaders.all().items()):
        status = seen.get(led.seat.name)
        if status is None or status.status is None or status.process != led.process:
            continue
        others = [seen.get(seat.name) for seat in job.fleet.seats(shard)]
        epochs = [
            other.cursor.epoch
            for other in others
            if other is not None and other.role == "following" and other.cursor is not None
        ]
        found.append(replace(status.status, standby_epoch=max(epochs, default=None)))
    return found


def _state(coordinator: Coordinator, paused: Sequence[Pausable]) -> str:
    job = coordinator.job
    if coordinator.failure is not None or coordinator.has_been_replaced:
        return "failed"
    if job.stopped.is_set():
        return "stopped"
    if "training" in paused:
        return "paused"
    if coordinator.is_finished:
        return "finished"
    if not job.leaders.is_whole:
        return "failing over" if job.keeping.newest is not None else "starting"
    return "training"


def _version() -> str:
    try:
        return version("trilith")
    except PackageNotFoundError:  # from a checkout
        return "unknown"
