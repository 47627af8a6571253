"""A whole job in one process: shards, trainer, replicas and their servers."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

import numpy as np
import xxhash

from cluster.progress import RunProgress
from cluster.rate import RecentRate
from ps.blocklog import BlockLog
from ps.buckets import bucket_of, even_shard_map
from ps.client import RoutingClient
from ps.shard import Shard
from serving.follower import Follower
from serving.predictor import Predictor
from serving.replica import Replica
from serving.server import PredictServer
from serving.table_store import TableStore
from worker.batching import interleaved
from worker.event_time_guard import EventTimeGuard
from worker.learners import BatchLearner, ExampleLearner
from worker.metrics.progressive import ProgressiveMetrics
from worker.prefetch import Prefetcher
from worker.preparation import prepare
from worker.quarantine import Quarantine
from worker.sources.again import Again
from worker.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType

    from cluster.plan import Plan
    from model.batch import Batch
    from ps.arrays import I64, U64
    from ps.block import Block
    from ps.clock import Clock
    from ps.table import TableSpec
    from worker.events import EventChunk
    from worker.learners import Learned, Learner
    from worker.trainer import BatchObserver

_US = 1_000_000
_PROGRESS_INTERVAL_S = 0.5
# A follower looks of itself this often; every sealed block wakes it at once.
_POLL_S = 1.0


class _Serving:
    """One replica, the thread that keeps it current, and its server."""

    def __init__(self, plan: Plan, number: int, log: BlockLog, clock: Clock) -> None:
        specs: dict[str, TableSpec] = {t.name: t for s in plan.shards for t in s.tables}
        seed = plan.shards[0].seed
        shard_map = even_shard_map(len(plan.shards))

        def owner(fids: U64) -> I64:
            return shard_map[bucket_of(fids)].astype(np.int64)

        self.replica = Replica(
            plan.shards[0].model,
            {name: lambda spec=spec: TableStore(spec, seed=seed) for name, spec in specs.items()},
            clock,
            shards=len(plan.shards),
            owner=owner,
            dense=[variable.name for shard in plan.shards for variable in shard.dense],
        )
        self.follower = Follower(self.replica, log, poll_s=_POLL_S)
        predictor = Predictor(plan.examples.features, plan.make_model, self.replica, clock)
        self.server = PredictServer(predictor, clock, plan.serve.servers[number])


class _Locked:
    """A learner that holds the shards' lock while it learns, and no longer: observers may wait."""

    def __init__(self, learner: Learner, lock: threading.Lock) -> None:
        self._learner = learner
        self._lock = lock

    def learn(self, batch: Batch, generation: int) -> Learned:
        """See Learner."""
        with self._lock:
            return self._learner.learn(batch, generation)


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
        self._plan = plan
        self._clock = clock
        self._on_progress = on_progress
        self._shards = [Shard(spec) for spec in plan.shards]
        self._shards_lock = threading.Lock()
        self._log = BlockLog(base=self._base)
        self._client = RoutingClient(self._shards)
        self._guard = (
            None
            if plan.train.max_jump_s is None
            else EventTimeGuard(round(plan.train.max_jump_s * _US))
        )
        self.metrics = ProgressiveMetrics(plan.train.metrics)
        self._trainer = Trainer(
            _Locked(self._learner(), self._shards_lock),
            self.metrics,
            Quarantine(plan.train.quarantine),
            on_batch=on_batch,
        )
        self._serving = [
            _Serving(plan, number, self._log, clock)
            for number in range(plan.serve.replicas if serve else 0)
        ]
        self._rate = RecentRate()
        self._started_s = clock.monotonic_s()
        self._sealed_s = self._started_s
        self._told_s = self._started_s
        self._resources = ExitStack()

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
        return tuple(serving.server.target for serving in self._serving)

    def start_servers(self) -> None:
        """Listen; health says NOT_SERVING until the first block has arrived.

        Raises serving.errors.ServerStartError; what was started is then stopped by close().
        """
        for serving in self._serving:
            self._resources.callback(serving.server.stop)
            serving.server.start()
            self._resources.callback(serving.follower.stop)
            serving.follower.start()

    def run(self, stop: threading.Event | None = None, *, hold: bool = False) -> RunProgress:
        """Learn until the stream ends or stop is set; with hold, go on serving until stop is set.

        Raises worker.errors.SourceError where the source cannot be read to its end (what came before
        has been learned and published), and what features and shards raise.
        """
        stop = stop or threading.Event()
        self._started_s = self._sealed_s = self._told_s = self._clock.monotonic_s()
        self._seal()
        try:
            for number, chunks in enumerate(self._passes()):
                # A second look at an example flatters the model.
                self._trainer.validating = number == 0
                if stop.is_set():
                    break
                self._learn_from(chunks, stop)
        finally:
            self._seal()
        progress = self.progress(finished=True)
        if self._on_progress is not None:
            self._on_progress(progress)
        while hold and not stop.wait(self._plan.serve.sync_interval_s):
            # Nothing new to learn; an empty epoch still tells the replicas that they are current.
            self._seal()
        return progress

    def progress(self, *, finished: bool = False) -> RunProgress:
        """The run as it stands now."""
        total = self.metrics.totals()
        closed = [window for window in self.metrics.windows() if window.closed]
        window = closed[-1].metrics if closed else None
        stats = [shard.stats() for shard in self._shards]
        tables = [table for shard in stats for table in shard.tables.values()]
        staleness = [serving.replica.status().staleness for serving in self._serving]
        return RunProgress(
            elapsed_s=self._clock.monotonic_s() - self._started_s,
            examples=self._trainer.examples,
            examples_per_s=self._rate.per_s,
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
            batches_dropped=self._trainer.batches_dropped,
            quarantined=dict(self._trainer.quarantine.reasons),
            finished=finished,
        )

    def digest(self) -> str:
        """A hash of the state of all shards: equal digests, equal models, bit for bit."""
        digest = xxhash.xxh3_128()
        for shard in self._shards:
            digest.update(shard.digest().encode())
        return digest.hexdigest()

    def close(self) -> None:
        """Stop servers and replicas, within their grace; may be called again."""
        self._log.close()
        self._resources.close()

    def _learner(self) -> Learner:
        layout = self._plan.examples.features.layout
        if self._plan.train.grain == "example":
            return ExampleLearner(layout, self._shards[0])
        return BatchLearner(self._plan.make_model(), layout, self._client)

    def _passes(self) -> Iterator[Iterator[EventChunk]]:
        train = self._plan.train
        for number in range(train.passes):
            source = self._plan.source if number == 0 else Again(self._plan.source, number)
            partitions = source.partitions()
            stops = None if train.max_examples is None else _shares(partitions, train.max_examples)
            yield interleaved(source, dict.fromkeys(partitions, 0), train.batch_size, stops=stops)

    def _learn_from(self, chunks: Iterator[EventChunk], stop: threading.Event) -> None:
        prepared = prepare(chunks, self._plan.examples, self._guard, self._clock)
        with Prefetcher(prepared, depth=self._plan.train.prefetch_batches) as batches:
            for batch in batches:
                if stop.is_set():
                    return
                learned = self._trainer.learn(batch)
                now_s = self._clock.monotonic_s()
                self._rate.add(learned, now_s)
                if now_s - self._sealed_s >= self._plan.serve.sync_interval_s:
                    self._seal()
                if self._on_progress is not None and now_s - self._told_s >= _PROGRESS_INTERVAL_S:
                    self._told_s = now_s
                    self._on_progress(self.progress())

    def _seal(self) -> None:
        """End the epoch of every shard and hand the blocks to the replicas."""
        self._sealed_s = self._clock.monotonic_s()
        with self._shards_lock:
            for shard in self._shards:
                block = shard.seal(self._clock.now_us())
                # Nobody to read it; sealing still lets go of what the epoch remembered.
                if self._serving:
                    self._log.append(block)
        for serving in self._serving:
            serving.follower.wake()

    def _base(self, shard: int) -> Block:
        with self._shards_lock:
            return self._shards[shard].export(self._clock.now_us())


def _shares(partitions: Sequence[str], positions: int) -> dict[str, int]:
    """Where each partition stops, so that together they cover about `positions` positions."""
    share, rest = divmod(positions, len(partitions))
    return {name: share + (number < rest) for number, name in enumerate(partitions)}


def _worst(seconds: Iterable[float | None]) -> float | None:
    return max((value for value in seconds if value is not None), default=None)
