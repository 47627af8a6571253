"""Upkeep of a store beside training: compaction and pruning, one at a time, whoever asks for them."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ps.errors import CorruptFileError, StoreError, StoreUnavailableError
from ps.store.catalog import Catalog
from ps.store.compactor import compact
from ps.store.retention import RetentionPolicy, prune

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ps.block import Cursor
    from ps.clock import Clock
    from ps.store.commit import Commit
    from ps.store.location import Location
    from ps.store.retention import PrunePlan
    from ps.store.writer import StoreWriter

logger = logging.getLogger(__name__)

# How long to wait for a compaction or pruning under way: within what an operator's call may take.
HELD_WITHIN_S = 300.0


@dataclass(frozen=True, slots=True)
class UpkeepPolicy:
    """When to compact, what to keep, how to try again.

    compact_blocks: after so many epochs since the bases. compact_share: or once the blocks since the
    bases weigh that share of them, and at least compact_least_bytes. compact_memory_bytes: what
    compaction may hold at once. prune_commits: look for what to delete after so many restore points.
    retry_first_s, retry_max_s: waits after failures of saving in a row, doubling.
    """

    retention: RetentionPolicy = field(default_factory=RetentionPolicy)
    compact_blocks: int = 300
    compact_share: float = 1.0
    compact_least_bytes: int = 16 << 20
    compact_memory_bytes: int = 512 << 20
    prune_commits: int = 30
    retry_first_s: float = 0.1
    retry_max_s: float = 5.0


class Upkeep:
    """A thread that compacts and prunes when it is time; others may ask for either in their own.

    restored: the restore point the writer's chains are from, which stays until it has committed.
    writing_since: the generation at which this process began to write.
    """

    def __init__(
        self,
        location: Location,
        writer: StoreWriter,
        policy: UpkeepPolicy,
        *,
        clock: Clock,
        restored: Cursor | None = None,
        writing_since: int | None = None,
    ) -> None:
        self._location = location
        self._writer = writer
        self._policy = policy
        self._clock = clock
        self._restored = restored
        self._writing_since = writing_since
        self._catalog = Catalog(location)
        self._stop = threading.Event()
        self._due = threading.Event()
        self._lock = threading.Lock()
        self._last: Commit | None = None
        self._commits_since_prune = 0
        self._bytes_since_base = 0
        self._base_bytes = 0
        self.error: str | None = None
        self.compacting = False
        self.restore_points = 0
        self.stored_bytes = 0
        self._thread = threading.Thread(target=self._run, name="compact", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def note(self, commit: Commit) -> None:
        """A restore point has been made: the committing thread's. Returns at once."""
        self._last = commit
        self._bytes_since_base += commit.bytes_written
        self._commits_since_prune += 1
        self.restore_points += 1
        self.stored_bytes += commit.bytes_written
        if self._is_compaction_due(commit) or self._is_pruning_due():
            self._due.set()

    @contextmanager
    def held(self, timeout_s: float = HELD_WITHIN_S) -> Iterator[None]:
        """Neither compaction nor pruning meanwhile; waits for what is under way.

        Raises StoreUnavailableError where that takes longer.
        """
        if not self._lock.acquire(timeout=timeout_s):
            raise StoreUnavailableError(
                f"store {self._location.url}: the compaction or pruning under way did not end "
                f"within {timeout_s:g} s; try again once it has"
            )
        try:
            yield
        finally:
            self._lock.release()

    def compact_now(self) -> None:
        """Write new bases for the newest restore point, in the caller's thread. Raises StoreError."""
        with self.held():
            self._compact()

    def prune_now(self, *, dry_run: bool) -> PrunePlan:
        """Delete what the policy does not keep, in the caller's thread; with dry_run, only say what.

        Raises StoreError, CorruptFileError.
        """
        if dry_run:
            return self._prune(Catalog(self._location), dry_run=True)
        with self.held():
            return self._prune(self._catalog)

    def close(self, timeout_s: float) -> None:
        """Finish what is under way, and stop; a thread that hangs in the store is left behind."""
        self._stop.set()
        self._due.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _is_compaction_due(self, commit: Commit) -> bool:
        policy = self._policy
        heavy = max(policy.compact_least_bytes, policy.compact_share * self._base_bytes)
        blocks = max(len(chain.blocks) for chain in commit.shards)
        return blocks >= policy.compact_blocks or self._bytes_since_base >= heavy

    def _is_pruning_due(self) -> bool:
        return self._commits_since_prune >= self._policy.prune_commits

    def _run(self) -> None:
        while True:
            self._due.wait()
            if self._stop.is_set():
                return
            self._due.clear()
            commit = self._last
            if commit is None:
                continue
            try:
                with self._lock:
                    if self._is_compaction_due(commit):
                        self._compact()
                    self._prune(self._catalog)
                self.error = None
            except (StoreError, CorruptFileError) as error:
                # The chains grow longer, nothing is lost; the next commit asks again.
                logger.warning("compaction or pruning failed: %s", error)
                self.error = str(error)
            except Exception as error:
                logger.exception("compaction or pruning failed")
                self.error = f"{type(error).__name__}: {error}"

    def _compact(self) -> None:
        """Put new bases in place of long chains:

        1. take the chains of the newest restore point
        2. write one base for each shard, each whole before it has its name
        3. let the next commits begin there; those that are there keep naming what they named
        """
        chains = [chain for chain in self._writer.chains if chain.blocks]  # 1
        memory_bytes = self._policy.compact_memory_bytes
        since_base = self._bytes_since_base
        self.compacting = True
        try:
            sizes = [compact(self._location, c, memory_bytes=memory_bytes) for c in chains]  # 2
        finally:
            self.compacting = False
        self._writer.adopt_bases({chain.shard: chain.cursor for chain in chains})  # 3
        self._base_bytes = sum(sizes)
        self._bytes_since_base -= since_base

    def _prune(self, catalog: Catalog, *, dry_run: bool = False) -> PrunePlan:
        if not dry_run:
            # Whoever has been replaced does not know what its successor needs.
            self._writer.check()
            self._commits_since_prune = 0
        restored = self._restored if self._last is None else None
        found = prune(
            catalog,
            self._policy.retention,
            now_us=self._clock.now_us(),
            pinned=() if restored is None else (restored,),
            chains=self._writer.chains,
            writing_since=self._writing_since,
            dry_run=dry_run,
        )
        if not dry_run:
            self.restore_points = len(catalog.points())
        return found
