"""A run: everything a job needs in one process, put together, from its start to its end."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

import xxhash

from cluster.errors import UnsavedError
from cluster.local.admin_target import RunTarget
from cluster.local.control import Control
from cluster.local.durability import Durability
from cluster.local.epochs import Epochs
from cluster.local.learning import Learning
from cluster.local.loop import Loop
from cluster.local.publishing import Publishing
from cluster.local.status import StatusBoard, progress_of
from cluster.local.succession import Succession
from cluster.local.worker_state import worker_state
from ps.admin.server import AdminServer
from ps.errors import StoreError
from ps.shard import Shard
from ps.store.resume import GoOnFrom, Resumed
from worker.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from cluster.local.epochs import SealedEpoch
    from cluster.plan import Plan
    from cluster.progress import RunProgress
    from ps.clock import Clock
    from ps.store.commit import Commit
    from worker.ledger import BatchObserver
    from worker.metrics.progressive import ProgressiveMetrics

_PROGRESS_INTERVAL_S = 0.5


class LocalRun:
    """Learns from the plan's source and, if asked to, serves what it learned from its replicas.

    With a store it goes on where the store stands. One thread calls start_servers, run and close;
    stop may be set from any other, or from a signal handler. Everything that happens to the shards
    happens in the thread that calls run, between batches, except that a replica which fell behind
    reads a base block under the same lock.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        clock: Clock,
        serve: bool,
        on_progress: Callable[[RunProgress], None] | None = None,
        on_batch: BatchObserver | None = None,
        go_on_from: GoOnFrom | None = None,
        say: Callable[[str], None] | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        """say: told what a person should know, by any thread: where it goes on, what takes long, what is
        damaged, what an operator did. prepare: called once the store is this run's, and what it holds
        fits the job, before anything of it is read.

        Raises, with a store, what Durability, its check() and its resume() raise.
        """
        self._plan = plan
        self._clock = clock
        self._on_progress = on_progress
        self._say = say or _ignore
        self._resources = ExitStack()
        try:
            self._durability, wanted = None, go_on_from or GoOnFrom()
            if plan.store is not None:
                self._durability = Durability(plan.name, plan.store, clock=clock, say=self._say)
                self._resources.callback(self._durability.close)
                self._durability.check(plan.shards, wanted)
            if prepare is not None:
                prepare()
            if self._durability is None:
                resumed = Resumed([Shard(spec) for spec in plan.shards])
            else:
                resumed = self._durability.resume(plan.shards, wanted)
            self._learning = Learning(plan, resumed.shards, clock, on_batch)
            if self._durability is not None:
                self._learning.trainer.generation = self._durability.generation
                if resumed.commit is not None:
                    self._go_on(resumed.commit, self._durability.url, wanted.reset)
            self._publishing = Publishing(
                plan, self._learning, clock, replicas=plan.serve.replicas if serve else 0
            )
        except BaseException:
            self._resources.close()
            raise
        self._resources.callback(self._publishing.close)
        interval_s = plan.serve.sync_interval_s
        if plan.store is not None and not serve:
            interval_s = plan.store.commit_every_s  # nobody else needs an epoch
        self._epochs = Epochs(self._learning, clock, interval_s, self._hand_on)
        self._control = Control()
        self._loop = Loop(plan, self._learning, self._epochs, self._control, clock, self._tick)
        self._board = StatusBoard(plan, self._publishing, clock)
        self._succession = Succession(
            plan,
            self._learning,
            self._epochs,
            self._publishing,
            self._loop,
            self._board,
            clock,
            self._durability,
            self._tell,
        )
        self.target = RunTarget(self._succession, self._control, self._say)
        self._admin: AdminServer | None = None
        self._examples_before = self._learning.trainer.examples
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

    @property
    def admin_address(self) -> str | None:
        """host:port of the admin service; None before start_servers, and where the job has none."""
        return None if self._admin is None else self._admin.address

    def start_servers(self) -> None:
        """Listen: the admin service, and the replicas, whose health says NOT_SERVING until they have
        the model.

        Raises ps.admin.errors.AdminStartError, serving.errors.ServerStartError; what was started is
        then stopped by close().
        """
        if self._plan.admin is not None:
            admin = AdminServer(self.target, self._plan.admin.settings())
            self._resources.callback(admin.stop)
            admin.start()
            self._admin = admin
            if self._durability is not None:
                self._durability.announce(admin.address)
        if self._publishing.serving:
            # Where the shards go on under a new generation, replicas can follow from this epoch on.
            self._epochs.seal()
            self._publishing.start_servers()

    def run(self, stop: threading.Event | None = None, *, hold: bool = False) -> RunProgress:
        """Learn until the stream ends or stop is set; with hold, go on serving until stop is set.

        Raises worker.errors.SourceError where the source cannot be read to its end (what came before
        has been learned, published and saved), FencedError where another process has taken over the
        store, UnsavedError where not all could be saved in the end, and what features and shards raise.
        """
        stop = stop or threading.Event()
        self._started_s = self._told_s = self._clock.monotonic_s()
        self._epochs.seal()
        self._publishing.start_standbys()
        with self._control.open():
            progress = self._learn(stop, save=not hold)
            while hold and self._loop.hold(stop):
                progress = self._learn(stop)
        if hold:
            self._save()
        return progress

    def hold(self, stop: threading.Event) -> None:
        """After an error of the source, go on serving what was learned, and doing what is asked.

        Ends once stop is set. A source that breaks off again, after a rollback, is told of.
        """
        with self._control.open():
            while self._loop.hold(stop):
                try:
                    self._learn(stop)
                except SourceError as error:
                    self._say(str(error))
        self._save()

    def progress(self, *, finished: bool = False, stopped: bool = False) -> RunProgress:
        """The run as it stands now."""
        return progress_of(
            self._learning,
            self._publishing,
            self._durability,
            examples_before=self._examples_before,
            elapsed_s=self._clock.monotonic_s() - self._started_s,
            examples_per_s=self._loop.rate.per_s,
            finished=finished,
            stopped=stopped,
        )

    def digest(self) -> str:
        """A hash of the state of all shards: equal digests, equal models, bit for bit."""
        digest = xxhash.xxh3_128()
        for shard in self._learning.shards:
            digest.update(shard.digest().encode())
        return digest.hexdigest()

    def close(self) -> None:
        """Stop servers and replicas, within their grace, and give up the store; may be called again."""
        self._resources.close()

    def _go_on(self, commit: Commit, store: str, reset: Sequence[str]) -> None:
        """From where the shards stand, with what was known of the stream then."""
        state = worker_state(commit)
        afresh = ["all metrics, since what was known of the stream is lost"]
        if state is not None:
            afresh = self._learning.restore(state, commit.skips)
        self._learning.skips = dict(commit.skips)
        examples = self._learning.trainer.examples
        without = f", but for {', '.join(reset)}: begun afresh" if reset else ""
        self._say(
            f"resumed at epoch {commit.at.epoch}, {examples:,} examples, from {store}{without}"
        )
        for what in afresh:
            self._say(f"begins afresh: {what}")

    def _learn(self, stop: threading.Event, *, save: bool = False) -> RunProgress:
        """Learn to the end of the stream, or a stop; all of it published, and on its way to the store."""
        self._board.state = "training"
        try:
            ended = self._loop.learn(stop)
        except BaseException:
            self._board.state = "failed"
            raise
        finally:
            self._epochs.seal()
        self._board.state = "finished" if ended else "stopped"
        try:
            if save:
                self._save()
        finally:
            progress = self.progress(finished=True, stopped=not ended)
            self._board.post(progress, self._learning)
            if self._on_progress is not None:
                self._on_progress(progress)
        return progress

    def _save(self) -> None:
        """Wait until the store has everything. Raises UnsavedError."""
        if self._durability is None:
            return
        try:
            self._durability.save_now()
        except StoreError as error:
            raise UnsavedError(str(error)) from error

    def _tick(self, now_s: float) -> None:
        """Between two batches: tell how it goes, now and then."""
        if now_s - self._told_s >= _PROGRESS_INTERVAL_S:
            self._tell()

    def _tell(self) -> None:
        """Tell how it goes."""
        self._told_s = self._clock.monotonic_s()
        progress = self.progress()
        self._board.post(progress, self._learning)
        if self._on_progress is not None:
            self._on_progress(progress)

    def _hand_on(self, epoch: SealedEpoch) -> None:
        """Give a sealed epoch to all who follow."""
        self._publishing.publish(epoch.blocks)
        if self._durability is not None:
            self._durability.put(epoch)


def _ignore(message: str) -> None:
    del message
