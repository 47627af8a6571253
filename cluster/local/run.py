"""A run: everything a job needs in one process, put together, from its start to its end."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

import xxhash

from cluster.local.control import Control
from cluster.local.epochs import Epochs
from cluster.local.learning import Learning
from cluster.local.loop import Loop
from cluster.local.publishing import Publishing
from cluster.local.status import StatusBoard
from cluster.progress import RunProgress
from ps.shard import Shard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from cluster.local.epochs import SealedEpoch
    from cluster.plan import Plan
    from ps.clock import Clock
    from worker.metrics.progressive import ProgressiveMetrics
    from worker.trainer import BatchObserver

_PROGRESS_INTERVAL_S = 0.5


class LocalRun:
    """Learns from the plan's source and, if asked to, serves what it learned from its replicas.

    One thread calls start_servers, run and close; stop may be set from any other, or from a signal
    handler. Everything that happens to the shards happens in the thread that calls run, between
    batches, except that a replica which fell behind reads a base block under the same lock.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        clock: Clock,
        serve: bool,
        on_progress: Callable[[RunProgress], None] | None = None,
        on_batch: BatchObserver | None = None,
    ) -> None:
        self._clock = clock
        self._on_progress = on_progress
        shards = [Shard(spec) for spec in plan.shards]
        self._learning = Learning(plan, shards, clock, on_batch)
        self._publishing = Publishing(
            plan, self._learning, clock, replicas=plan.serve.replicas if serve else 0
        )
        self._epochs = Epochs(self._learning, clock, plan.serve.sync_interval_s, self._hand_on)
        self._control = Control()
        self._loop = Loop(plan, self._learning, self._epochs, self._control, clock, self._tick)
        self._board = StatusBoard(plan, self._publishing, clock)
        self._started_s = self._told_s = clock.monotonic_s()
        self._board.post(self.progress(), self._learning)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def addresses(self) -> tuple[str, ...]:
        """host:port of every server that was started."""
        return self._publishing.addresses

    @property
    def metrics(self) -> ProgressiveMetrics:
        """Progressive validation of everything learned so far."""
        return self._learning.metrics

    def start_servers(self) -> None:
        """Listen; health says NOT_SERVING until the first block has arrived.

        Raises serving.errors.ServerStartError; what was started is then stopped by close().
        """
        self._publishing.start_servers()

    def run(self, stop: threading.Event | None = None, *, hold: bool = False) -> RunProgress:
        """Learn until the stream ends or stop is set; with hold, go on serving until stop is set.

        Raises worker.errors.SourceError where the source cannot be read to its end (what came before
        has been learned and published), and what features and shards raise.
        """
        stop = stop or threading.Event()
        self._started_s = self._told_s = self._clock.monotonic_s()
        self._publishing.start_standbys()
        with self._control.open():
            progress = self._learn(stop)
            while hold and self._loop.hold(stop):
                progress = self._learn(stop)
        return progress

    def hold(self, stop: threading.Event) -> None:
        """Go on serving what was learned, and doing what is asked, until stop is set."""
        with self._control.open():
            while self._loop.hold(stop):
                self._learn(stop)

    def progress(self, *, finished: bool = False) -> RunProgress:
        """The run as it stands now."""
        trainer = self._learning.trainer
        total = self.metrics.totals()
        closed = [window for window in self.metrics.windows() if window.closed]
        window = closed[-1].metrics if closed else None
        stats = [shard.stats() for shard in self._learning.shards]
        tables = [table for shard in stats for table in shard.tables.values()]
        staleness = [one.replica.status().staleness for one in self._publishing.serving]
        return RunProgress(
            elapsed_s=self._clock.monotonic_s() - self._started_s,
            examples=trainer.examples,
            examples_per_s=self._loop.rate.per_s,
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
            finished=finished,
        )

    def digest(self) -> str:
        """A hash of the state of all shards: equal digests, equal models, bit for bit."""
        digest = xxhash.xxh3_128()
        for shard in self._learning.shards:
            digest.update(shard.digest().encode())
        return digest.hexdigest()

    def close(self) -> None:
        """Stop servers and replicas, within their grace; may be called again."""
        self._publishing.close()

    def _learn(self, stop: threading.Event) -> RunProgress:
        self._board.state = "training"
        self._epochs.seal()
        try:
            self._loop.learn(stop)
        except BaseException:
            self._board.state = "failed"
            raise
        finally:
            self._epochs.seal()
        self._board.state = "finished"
        progress = self.progress(finished=True)
        self._board.post(progress, self._learning)
        if self._on_progress is not None:
            self._on_progress(progress)
        return progress

    def _tick(self, now_s: float) -> None:
        """Between two batches: tell how it goes, now and then."""
        if now_s - self._told_s < _PROGRESS_INTERVAL_S:
            return
        self._told_s = now_s
        progress = self.progress()
        self._board.post(progress, self._learning)
        if self._on_progress is not None:
            self._on_progress(progress)

    def _hand_on(self, epoch: SealedEpoch) -> None:
        """Give a sealed epoch to all who follow."""
        self._publishing.publish(epoch.blocks)


def _worst(seconds: Iterable[float | None]) -> float | None:
    return max((value for value in seconds if value is not None), default=None)
