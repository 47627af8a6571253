"""The job at a glance: put together by the training thread now and then, read by anybody."""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from cluster.progress import RunProgress
from ps.admin.target import JobStatus, ShardStatus
from serving.reporting import status_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cluster.local.durability import Durability
    from cluster.local.learning import Learning
    from cluster.local.publishing import Publishing
    from cluster.plan import Plan
    from ps.admin.target import Pausable, StoreStatus
    from ps.clock import Clock
    from ps.shard import Shard
    from ps.store.commit import Skips


@dataclass(frozen=True, slots=True)
class _Glance:
    """What the training thread has last told."""

    progress: RunProgress
    shards: tuple[ShardStatus, ...]
    skips: Skips


class StatusBoard:
    """Where the training thread posts how it stands, so that whoever asks never waits for it.

    state, paused: of the run, set by whoever changes them.
    """

    def __init__(self, plan: Plan, publishing: Publishing, clock: Clock) -> None:
        self.state = "starting"
        self._paused: tuple[Pausable, ...] = ()
        self._pausing = threading.Lock()
        self._plan = plan
        self._publishing = publishing
        self._clock = clock
        self._started_us = clock.now_us()
        self._glance: _Glance | None = None

    @property
    def paused(self) -> tuple[Pausable, ...]:
        """What an operator has paused."""
        return self._paused

    def pause(self, what: Pausable) -> None:
        """Note that it is paused."""
        with self._pausing:
            if what not in self._paused:
                self._paused = (*self._paused, what)

    def resume(self, what: Pausable) -> None:
        """Note that it goes on."""
        with self._pausing:
            self._paused = tuple(paused for paused in self._paused if paused != what)

    def post(self, progress: RunProgress, learning: Learning) -> None:
        """Tell how the run stands now: the training thread, between two batches."""
        standbys = self._publishing.standbys
        epochs = [] if standbys is None else standbys.epochs
        shards = tuple(
            _shard_status(shard, epochs[number] if number < len(epochs) else None)
            for number, shard in enumerate(learning.shards)
        )
        self._glance = _Glance(progress, shards, learning.skips)

    def read(self, store: StoreStatus | None) -> JobStatus:
        """The latest that is known. Safe to call from any thread."""
        glance, publishing = self._glance, self._publishing
        if glance is None:
            raise RuntimeError("a run posts its state before it serves an operator")
        progress, shards = glance.progress, glance.shards
        is_waiting = self.state == "training" and "training" in self._paused
        return JobStatus(
            job=self._plan.name,
            model=self._plan.shards[0].model,
            version=_version(),
            pid=os.getpid(),
            host=socket.gethostname(),
            started_us=self._started_us,
            now_us=self._clock.now_us(),
            state="paused" if is_waiting else self.state,
            paused=self._paused,
            generation=max(shard.generation for shard in shards),
            epoch=max(shard.epoch for shard in shards),
            examples=progress.examples,
            examples_per_s=0.0 if is_waiting else progress.examples_per_s or 0.0,
            event_ts_us=progress.event_ts_us,
            metrics={
                "auc": progress.auc,
                "log_loss": progress.log_loss,
                "normalized_entropy": progress.normalized_entropy,
                "calibration": progress.calibration,
                "window_auc": progress.window_auc,
                "window_log_loss": progress.window_log_loss,
            },
            quarantined=progress.quarantined,
            skips=glance.skips,
            shards=shards,
            replicas=[
                status_of(serving.address, serving.replica, serving.follower)
                for serving in publishing.serving
            ],
            store=store,
        )


def progress_of(
    learning: Learning,
    publishing: Publishing,
    durability: Durability | None,
    *,
    examples_before: int,
    elapsed_s: float,
    examples_per_s: float | None,
    finished: bool,
    stopped: bool,
) -> RunProgress:
    """The run as it stands: between two batches."""
    trainer = learning.trainer
    total = learning.metrics.totals()
    closed = [window for window in learning.metrics.windows() if window.closed]
    window = closed[-1].metrics if closed else None
    stats = [shard.stats() for shard in learning.shards]
    tables = [table for shard in stats for table in shard.tables.values()]
    staleness = [one.replica.status().staleness for one in publishing.serving]
    store = None if durability is None else durability.status()
    return RunProgress(
        elapsed_s=elapsed_s,
        examples=trainer.examples,
        examples_before=examples_before,
        examples_per_s=examples_per_s,
        event_ts_us=max(shard.event_ts_us for shard in stats),
        auc=total.auc,
        log_loss=total.log_loss,
        normalized_entropy=total.normalized_entropy,
        calibration=total.calibration,
        window_auc=window.auc if window else None,
        window_log_loss=window.log_loss if window else None,
        rows=sum(table.rows for table in tables),
        rows_admitted=sum(table.rows_admitted for table in tables),
        rows_expired=sum(table.rows_expired for table in tables),
        epoch=max(shard.epoch for shard in stats),
        staleness_p50_s=_worst(summary.p50_s for summary in staleness),
        staleness_p99_s=_worst(summary.p99_s for summary in staleness),
        batches_dropped=trainer.batches_dropped,
        quarantined=dict(trainer.quarantine.reasons),
        store=None if store is None else store.state,
        saved_epoch=None if store is None else store.committed_epoch,
        finished=finished,
        stopped=stopped,
    )


def _worst(seconds: Iterable[float | None]) -> float | None:
    return max((value for value in seconds if value is not None), default=None)


def _shard_status(shard: Shard, standby_epoch: int | None) -> ShardStatus:
    stats = shard.stats()
    return ShardStatus(
        shard=shard.spec.shard,
        generation=stats.generation,
        epoch=stats.epoch,
        event_ts_us=stats.event_ts_us,
        positions=shard.positions(),
        rows=sum(table.rows for table in stats.tables.values()),
        allocated_bytes=sum(table.allocated_bytes for table in stats.tables.values()),
        pushes_applied=stats.pushes_applied,
        pushes_repeated=stats.pushes_repeated,
        standby_epoch=standby_epoch,
    )


def _version() -> str:
    try:
        return version("trilith")
    except PackageNotFoundError:  # from a checkout
        return "unknown"
