"""The coordinator's hold on the job's store: generations, restore points, and their upkeep."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from ps.admin.target import StoreStatus
from ps.errors import NoRestorePointError, StoreError, StoreUnavailableError
from ps.store.catalog import Catalog
from ps.store.description import describe
from ps.store.history import changed_between
from ps.store.holder import Holder
from ps.store.opening import open_location
from ps.store.resume import Restoring
from ps.store.tenure import Tenure
from ps.store.upkeep import Upkeep
from ps.store.writer import StoreWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ps.block import Cursor
    from ps.clock import Clock
    from ps.coordinator.plan import StoreKeeping
    from ps.shard import Shard
    from ps.shard_spec import ShardSpec
    from ps.store.commit import Commit, ShardChain
    from ps.store.history import FidsByShard
    from ps.store.retention import PrunePlan
    from ps.store.writer import Written

_CLOSE_S = 5.0


class Keeping:
    """From the claim to its release. begin() before anything is committed; then any thread may call.

    say: told what a person should know. term: the first generation, by which hosts know this
    coordinator from those before and after.
    """

    def __init__(
        self,
        job: str,
        plan: StoreKeeping,
        *,
        clock: Clock,
        say: Callable[[str], None],
        successor: bool,
    ) -> None:
        """Become the store's only writer. Raises StoreInUseError, StoreUnavailableError, SpecError."""
        self._plan = plan
        self._clock = clock
        self._say = say
        self._location = open_location(plan.url)
        self._catalog = Catalog(self._location)
        self._reading = threading.RLock()
        self._resources = ExitStack()
        self._newest: Commit | None = None
        self._error: str | None = None
        self._failures_in_a_row = 0
        self._tenure = Tenure(
            self._location,
            Holder.of_this_process(job),
            clock,
            above=self._catalog.newest_cursor().generation,
            successor=successor,
        )
        self.term = self._tenure.first_generation
        self._resources.callback(self._release)

    @property
    def url(self) -> str:
        """The store's."""
        return self._location.url

    @property
    def generation(self) -> int:
        """The newest drawn."""
        return self._tenure.generation

    @property
    def upkeep(self) -> Upkeep:
        """Compaction and pruning."""
        return self._upkeep

    def draw(self) -> int:
        """A generation nobody has had and nobody else will. Raises FencedError, StoreUnavailableError."""
        return self._tenure.advance()

    def check(self) -> None:
        """Raise FencedError where another coordinator has taken over; keeps the claim fresh."""
        self._tenure.renew()
        self._tenure.check()

    def announce(self, admin: str) -> None:
        """Say in the store where the job's admin service listens."""
        self._tenure.renew(admin)

    def restoring(self) -> Restoring:
        """Reads shards of it, in one thread."""
        memory_bytes = self._plan.upkeep.compact_memory_bytes
        return Restoring(self._location, Catalog(self._location), self._say, memory_bytes)

    def begin(
        self,
        specs: Sequence[ShardSpec],
        chains: Sequence[ShardChain],
        commit: Commit | None,
    ) -> None:
        """Go on from these chains. commit: the restore point they are of, whole."""
        self._newest = commit
        self._model = specs[0].model
        self._writer = StoreWriter(
            self._location,
            self._tenure,
            describe(specs),
            chains,
            clock=self._clock,
            restored=commit,
        )
        # A leader that is adopted writes at its own generation, which is not below where the store
        # has its shard.
        since = [self.term, *(chain.cursor.generation for chain in chains)]
        self._upkeep = Upkeep(
            self._location,
            self._writer,
            self._plan.upkeep,
            clock=self._clock,
            restored=None if commit is None else commit.at,
            writing_since=min(since),
        )
        self._upkeep.start()
        self._resources.callback(self._upkeep.close, _CLOSE_S)

    @property
    def chains(self) -> tuple[ShardChain, ...]:
        """How each shard would be restored now."""
        return self._writer.chains

    def begin_chains(self, chains: Sequence[ShardChain]) -> None:
        """From the next restore point on, shards are restored so: of a set that was cut anew."""
        self._writer.replace_chains(chains)

    def commit(self, written: Written) -> Commit:
        """Make a restore point. Raises FencedError, StoreUnavailableError, StoreError."""
        try:
            commit = self._writer.commit_written(written, self._model)
        except StoreError as error:
            self.note_failure(str(error))
            raise
        self._failures_in_a_row, self._error = 0, None
        self._newest = commit
        self._upkeep.note(commit)
        return commit

    def note_failure(self, error: str) -> None:
        """A restore point could not be made."""
        self._failures_in_a_row += 1
        self._error = error

    @property
    def newest(self) -> Commit | None:
        """The newest restore point, as the job goes on from it; None: there is none."""
        return self._newest

    def way(self) -> Commit | None:
        """The newest restore point by its newest chains: compaction may have shortened them since."""
        newest = self._newest
        if newest is None:
            return None
        chains = self._writer.chains
        fits = [chain.cursor for chain in chains] == [chain.cursor for chain in newest.shards]
        return replace(newest, shards=chains) if fits else newest

    def way_round(self, commit: Commit, damaged: set[str]) -> Commit | None:
        """The same restore point without damaged files; None: no way. Raises StoreUnavailableError."""
        with self._reading:
            return self._catalog.chain_without(commit, damaged)

    def newest_epoch(self) -> int:
        """The highest epoch of any file. Raises StoreUnavailableError."""
        with self._reading:
            return self._catalog.newest_cursor().epoch

    @contextmanager
    def reading(self) -> Iterator[Catalog]:
        """The catalog, for one thread at a time."""
        with self._reading:
            yield self._catalog

    def commit_of(self, epoch: int) -> Commit:
        """The restore point of an epoch. Raises NoRestorePointError, StoreError."""
        with self._reading:
            return self._catalog.read_epoch(epoch)

    def present(self) -> Commit:
        """The newest restore point. Raises NoRestorePointError."""
        if self._newest is None:
            raise NoRestorePointError(f"store {self.url} has no restore point yet")
        return self._newest

    def restore(self, commit: Commit, spec: ShardSpec, shards: int) -> Shard:
        """One shard of a restore point, as a reader. Raises StoreError, SpecError."""
        return self.restoring().restore(commit, [spec], shards)[0]

    def cut_anew(self, commit: Commit, shards: int, at: Cursor) -> tuple[ShardChain, ...]:
        """Chains of so many shards that hold what the commit does. Raises SpecError, StoreError."""
        return self.restoring().cut_anew(commit, shards, at)

    def changed_since(self, earlier: Commit, later: Commit, shards: int) -> FidsByShard | None:
        """The fids that changed from one restore point to another, by shard; None: nobody knows."""
        with self._reading:
            commits = self._catalog.survey().commits.values()
        return changed_between(self._location, commits, earlier, later, shards)

    def prune(self, *, dry_run: bool) -> PrunePlan:
        """Delete what the plan does not keep, in this thread. Raises StoreError, CorruptFileError."""
        return self._upkeep.prune_now(dry_run=dry_run)

    def upkeep_held(self) -> AbstractContextManager[None]:
        """Neither compaction nor pruning meanwhile. Raises StoreUnavailableError where what is under
        way takes too long.
        """
        return self._upkeep.held()

    def status(self) -> StoreStatus:
        """How saving stands; never waits for the store."""
        newest, stored = self._newest, self._upkeep.stored
        return StoreStatus(
            url=self.url,
            state="failing" if self._failures_in_a_row > 1 else "ok",
            committed_epoch=None if newest is None else newest.at.epoch,
            committed_us=None if newest is None else newest.created_us,
            waiting_blocks=0,
            waiting_bytes=0,
            restore_points=stored.points,
            stored_bytes=stored.bytes,
            compacting=self._upkeep.compacting,
            last_error=self._error or self._upkeep.error,
        )

    def close(self) -> None:
        """Give the store up; again: no effect."""
        self._resources.close()

    def _release(self) -> None:
        try:
            self._tenure.release()
        except StoreUnavailableError as error:
            self._say(f"{error}; the store is free once this process has ended")
