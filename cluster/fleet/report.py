"""A job on a cluster at a glance, and what it came to: what its coordinator tells whoever asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cluster.progress import RunProgress
from worker.metrics.progressive import ProgressiveMetrics
from worker.state import WorkerState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ps.admin.target import ReplicaStatus, ShardStatus, StoreStatus, TableStatus
    from ps.coordinator.orders import WorkerReport
    from worker.metrics.progressive import MetricsSpec


@dataclass(frozen=True, slots=True)
class Glance:
    """The job now. process: of the coordinator. step: what is being done before it learns; None: it
    learns. said: what a person should know, from the number that was asked for. progress: None before
    it learns. ended: the end of the stream. failure: why it goes no further. serving: addresses of
    replicas that are there. stages: seconds that workers have spent, by what on (worker.stages).
    """

    process: str
    step: str | None
    said: tuple[str, ...]
    progress: RunProgress | None = None
    ended: bool = False
    failure: Exception | None = None
    serving: tuple[str, ...] = ()
    admin: str | None = None
    stages: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the job came to. metrics: ProgressiveMetrics.to_dict(). digest: as LocalRun.digest(), None
    where it was not asked for. unsaved: why the store does not have it all; None: it has.
    """

    progress: RunProgress
    metrics: Mapping[str, Any] = field(repr=False)
    digest: str | None = None
    unsaved: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a job's processes: their latest reports."""

    shards: Sequence[ShardStatus]
    tables: Sequence[TableStatus]
    workers: Sequence[WorkerReport]
    replicas: Sequence[ReplicaStatus]
    store: StoreStatus


def progress_of(
    seen: Seen,
    state: WorkerState | None,
    metrics: ProgressiveMetrics,
    *,
    elapsed_s: float,
    examples_before: int,
    ended: bool,
    stopped: bool,
) -> RunProgress:
    """The run as its processes reported it last. state: of the stream, over all workers."""
    total = metrics.totals()
    closed = [window for window in metrics.windows() if window.closed]
    window = closed[-1].metrics if closed else None
    return RunProgress(
        elapsed_s=elapsed_s,
        examples=0 if state is None else state.examples,
        examples_before=examples_before,
        examples_per_s=sum(worker.examples_per_s for worker in seen.workers),
        event_ts_us=max((shard.event_ts_us for shard in seen.shards), default=0),
        auc=total.auc,
        log_loss=total.log_loss,
        normalized_entropy=total.normalized_entropy,
        calibration=total.calibration,
        window_auc=window.auc if window else None,
        window_log_loss=window.log_loss if window else None,
        rows=sum(table.rows for table in seen.tables),
        rows_admitted=sum(table.rows_admitted for table in seen.tables),
        rows_expired=sum(table.rows_expired for table in seen.tables),
        epoch=max((shard.epoch for shard in seen.shards), default=0),
        staleness_p50_s=_worst(replica.staleness_p50_s for replica in seen.replicas),
        staleness_p99_s=_worst(replica.staleness_p99_s for replica in seen.replicas),
        batches_dropped=0 if state is None else state.batches_dropped,
        quarantined={} if state is None else dict(state.quarantine.reasons),
        store=seen.store.state,
        saved_epoch=seen.store.committed_epoch,
        finished=ended or stopped,
        stopped=stopped,
    )


def stages_of(workers: Iterable[WorkerReport]) -> dict[str, float]:
    """What all workers have spent their time on, in seconds."""
    spent_s: dict[str, float] = {}
    for worker in workers:
        for stage, seconds in worker.stages.items():
            spent_s[stage] = spent_s.get(stage, 0.0) + seconds
    return spent_s


def metrics_of(state: WorkerState | None, spec: MetricsSpec) -> ProgressiveMetrics:
    """Progressive validation of all workers together."""
    metrics = ProgressiveMetrics(spec)
    if state is not None:
        metrics.restore(state.metrics)
    return metrics


def state_of(encoded: bytes | None) -> WorkerState | None:
    """What is known of the stream; None: nothing. Raises WorkerStateError."""
    return WorkerState.decode(encoded) if encoded else None


def _worst(seconds: Iterable[float | None]) -> float | None:
    return max((value for value in seconds if value is not None), default=None)
