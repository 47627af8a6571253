"""Durability: the job's block store while it runs; what is saved, and what can be gone back to."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING

from cluster.local.saving import Saving
from ps.admin.target import StoreStatus
from ps.errors import NoRestorePointError, StoreUnavailableError
from ps.store.background import StoreThread
from ps.store.catalog import Catalog
from ps.store.description import describe
from ps.store.history import changed_between
from ps.store.holder import Holder
from ps.store.opening import open_location
from ps.store.resume import Restoring
from ps.store.retention import RetentionPolicy
from ps.store.tenure import Tenure
from ps.store.upkeep import UpkeepPolicy
from ps.store.writer import StoreWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cluster.local.epochs import SealedEpoch
    from cluster.plan import StorePlan
    from ps.block import Cursor
    from ps.clock import Clock
    from ps.shard import Shard, ShardSpec
    from ps.store.commit import Commit, ShardChain
    from ps.store.history import FidsByShard
    from ps.store.resume import GoOnFrom, Resumed
    from ps.store.retention import PrunePlan

# How long an operator, or the end of a run, waits for the store to take what is sealed.
FLUSH_S = 60.0
_CLOSE_S = 5.0
_SAY_S = 2.0


class Durability:
    """One process's hold on a store, from open() to close().

    put() is the training thread's; what reads the store may be called from any thread.
    """

    def __init__(
        self, job: str, plan: StorePlan, *, clock: Clock, say: Callable[[str], None]
    ) -> None:
        """Become the store's only writer. Raises StoreInUseError, StoreUnavailableError, SpecError."""
        self.say = say
        self._plan = plan
        self._clock = clock
        self._location = open_location(plan.url)
        self._catalog = Catalog(self._location)
        self._reading = threading.RLock()
        self._resources = ExitStack()
        self._tenure = Tenure(
            self._location,
            Holder.of_this_process(job),
            clock,
            above=self._catalog.newest_cursor().generation,
        )
        self._resources.callback(self._release)

    @property
    def url(self) -> str:
        """The store's."""
        return self._location.url

    @property
    def generation(self) -> int:
        """What this process writes at."""
        return self._tenure.generation

    def check(self, specs: Sequence[ShardSpec], go_on_from: GoOnFrom) -> None:
        """Refuse at once what resume() would refuse after reading. Raises what it raises."""
        self._restoring(self._catalog).check(specs, go_on_from)

    def resume(self, specs: Sequence[ShardSpec], go_on_from: GoOnFrom) -> Resumed:
        """The shards to go on with, which write at this process's generation from here on.

        Raises IncompatibleModelError, NoRestorePointError, SpecError, StoreUnavailableError, FencedError.
        """
        # The claim may be old by now, where kernels had to be compiled since.
        self._tenure.check()
        self._tenure.renew()
        resumed = self._restoring(self._catalog).resume(specs, go_on_from)
        if any(shard.cursor.generation >= self._tenure.generation for shard in resumed.shards):
            self._tenure.advance()  # bases were written at this generation; its epochs come after
        for shard in resumed.shards:
            shard.promote(self._tenure.generation, epoch=resumed.newest)
        self._writer = StoreWriter(
            self._location, self._tenure, describe(specs), resumed.chains, clock=self._clock
        )
        plan = self._plan
        policy = UpkeepPolicy(
            retention=RetentionPolicy(plan.keep_points, plan.keep_age_s, plan.keep_bytes),
            compact_blocks=plan.compact_after_blocks,
            compact_share=plan.compact_after_share,
            compact_memory_bytes=plan.compact_memory_bytes,
        )
        self._thread = StoreThread(
            self._location,
            self._writer,
            policy,
            clock=self._clock,
            restored=None if resumed.commit is None else resumed.commit.at,
            writing_since=self._tenure.first_generation,
        )
        self._thread.start()
        self._resources.callback(self._thread.close, _CLOSE_S)
        self._saving = Saving(
            self._thread, self._tenure, plan.commit_every_s, self._clock, resumed.shards
        )
        self._resources.callback(self._saving.close, _CLOSE_S)
        return resumed

    def announce(self, admin: str) -> None:
        """Say in the store where the job's admin service listens."""
        self._tenure.renew(admin)

    def put(self, epoch: SealedEpoch) -> None:
        """Save an epoch, in its time; returns at once. Raises FencedError."""
        self._saving.put(epoch)

    def save_now(self) -> Commit:
        """Have all that was put saved: the training thread's. The newest restore point.

        Raises StoreUnavailableError, StoreError.
        """
        try:
            commit = self._saving.flush(_SAY_S)
        except StoreUnavailableError:
            self.say(f"saving to {self.url} takes a while; giving it up to {FLUSH_S:g} s")
            commit = self._saving.flush(FLUSH_S)
        return commit or self.newest()

    def wait_saved(self, epoch: int) -> None:
        """Wait until an epoch that was put and asked for is in a restore point.

        Raises StoreUnavailableError, StoreError.
        """
        self._saving.wait_saved(epoch, FLUSH_S)

    def next_generation(self) -> int:
        """Claim it. Raises FencedError, StoreUnavailableError."""
        return self._tenure.advance()

    def begin_chains(self, chains: Sequence[ShardChain]) -> None:
        """From the next restore point on, shards are restored so: of a set that was cut anew."""
        self._writer.replace_chains(chains)

    def status(self) -> StoreStatus:
        """How saving stands; never waits for the store."""
        status = self._thread.status()
        committed, ended = status.committed, self._saving.error
        return StoreStatus(
            url=self.url,
            state=status.state if ended is None else "failing",
            committed_epoch=None if committed is None else committed.epoch,
            committed_us=status.committed_us,
            waiting_blocks=status.waiting_epochs,
            waiting_bytes=status.waiting_bytes,
            restore_points=status.restore_points,
            stored_bytes=status.stored_bytes,
            compacting=status.compacting,
            last_error=status.last_error if ended is None else str(ended),
        )

    @contextmanager
    def reading(self) -> Iterator[Catalog]:
        """The catalog, for one thread at a time."""
        with self._reading:
            yield self._catalog

    def newest(self) -> Commit:
        """The newest restore point. Raises NoRestorePointError, StoreUnavailableError."""
        commit = self._thread.last_commit
        if commit is not None:
            return commit
        with self._reading:
            newest = self._catalog.survey().newest
            if newest is None:
                raise NoRestorePointError(f"store {self.url} has no restore point yet")
            return self._catalog.read(newest.at)

    def commit_of(self, epoch: int) -> Commit:
        """The restore point of an epoch. Raises NoRestorePointError, StoreError."""
        with self._reading:
            return self._catalog.read_epoch(epoch)

    def restore(
        self, commit: Commit, specs: Sequence[ShardSpec], shards: int | None = None
    ) -> list[Shard]:
        """Shards of a restore point, as readers. Raises StoreError, SpecError."""
        # Neither waits for another, who may be reading a whole model.
        return self._restoring(Catalog(self._location)).restore(commit, specs, shards)

    def cut_anew(self, commit: Commit, shards: int, at: Cursor) -> tuple[ShardChain, ...]:
        """Chains of so many shards that hold what the commit does, with bases at `at`.

        Raises SpecError, StoreError.
        """
        return self._restoring(Catalog(self._location)).cut_anew(commit, shards, at)

    def changed_since(self, earlier: Commit, later: Commit, shards: int) -> FidsByShard | None:
        """The fids that changed from one restore point to another, by shard; None: nobody knows."""
        with self._reading:
            commits = self._catalog.survey().commits.values()
        return changed_between(self._location, commits, earlier, later, shards)

    def compact(self) -> None:
        """Put bases in place of the newest restore point's chains, in this thread. Raises StoreError."""
        self._thread.compact_now()

    def prune(self, *, dry_run: bool) -> PrunePlan:
        """Delete what the plan does not keep, in this thread. Raises StoreError, CorruptFileError."""
        return self._thread.prune_now(dry_run=dry_run)

    def upkeep_held(self) -> AbstractContextManager[None]:
        """Neither compaction nor pruning meanwhile; waits for what is under way.

        Raises StoreUnavailableError where that takes too long.
        """
        return self._thread.upkeep_held()

    def close(self) -> None:
        """Stop saving, and give the store up; what was put and is not saved is lost. Again: nothing."""
        self._resources.close()

    def _restoring(self, catalog: Catalog) -> Restoring:
        return Restoring(self._location, catalog, self.say, self._plan.compact_memory_bytes)

    def _release(self) -> None:
        try:
            self._tenure.release()
        except StoreUnavailableError as error:
            self.say(f"{error}; the store is free once this process has ended")
