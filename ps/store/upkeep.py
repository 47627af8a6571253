"""Upkeep of a store beside training: compaction and pruning, one at a time, whoever asks for them."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ps.errors import CorruptFileError, FencedError, StoreError, StoreUnavailableError
from ps.priority import run_behind_training
from ps.store.catalog import Catalog
from ps.store.compactor import compact
from ps.store.retention import RetentionPolicy, prune
from ps.store.stored import Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    upkeep_first_s, upkeep_max_s: the same of compaction and pruning, which may be tried less often.
    """

    retention: RetentionPolicy = field(default_factory=RetentionPolicy)
    compact_blocks: int = 300
    compact_share: float = 1.0
    compact_least_bytes: int = 16 << 20
    compact_memory_bytes: int = 512 << 20
    prune_commits: int = 30
    retry_first_s: float = 0.1
    retry_max_s: float = 5.0
    upkeep_first_s: float = 1.0
    upkeep_max_s: float = 60.0


class Upkeep:
    """A thread that compacts and prunes when it is time; others may ask for either in their own.

    What fails is tried again after a wait that doubles, and logged once for each kind of failure.
    stored: what the store holds. compacting: whether bases are being written.
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
        self._errors: dict[str, str] = {}
        self._told: set[tuple[str, str]] = set()
        self._failures_in_a_row = 0
        self.compacting = False
        self.stored = Stored()
        self._thread = threading.Thread(target=self._run, name="compact", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def error(self) -> str | None:
        """What is wrong with compaction or pruning just now."""
        return "; ".join(list(self._errors.values())) or None

    def note(self, commit: Commit) -> None:
        """A restore point has been made: the committing thread's. Returns at once."""
        self._last = commit
        self._bytes_since_base += commit.bytes_written
        self._commits_since_prune += 1
        self.stored.add(commit.at, commit.bytes_written)
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
        run_behind_training()
        self._attempt("counting", self._count)
        while not self._stop.is_set():
            if not self._errors:
                self._failures_in_a_row = 0
                self._due.wait()
            else:
                self._failures_in_a_row += 1
                self._stop.wait(self._delay_s())
            if self._stop.is_set():
                return
            self._due.clear()
            try:
                self._keep_up()
            except FencedError as error:
                self._errors["upkeep"] = str(error)
                return

    def _keep_up(self) -> None:
        """Do what is due, and what failed the last time. Raises FencedError."""
        if "counting" in self._errors:
            self._attempt("counting", self._count)
        commit = self._last
        if commit is None:
            return
        compacted = False
        if self._is_compaction_due(commit):
            compacted = self._attempt("compaction", self._compact)
        else:
            self._errors.pop("compaction", None)
        if compacted or self._is_pruning_due() or "pruning" in self._errors:
            self._attempt("pruning", lambda: self._prune(self._catalog))

    def _attempt(self, what: str, do: Callable[[], object]) -> bool:
        """Whether it was done. A failure costs nothing but time: chains grow longer, files stay."""
        try:
            with self._lock:
                do()
        except FencedError:
            raise
        except (StoreError, CorruptFileError) as error:
            self._note_failure(what, error)
            return False
        except Exception as error:  # noqa: BLE001  # told, and tried again
            self._note_failure(what, error, exc_info=True)
            return False
        if self._errors.pop(what, None) is not None:
            logger.info("%s works again", what)
            self._told = {told for told in self._told if told[0] != what}
        return True

    def _note_failure(self, what: str, error: Exception, *, exc_info: bool = False) -> None:
        kind = type(error).__name__
        self._errors[what] = (
            f"{what} failed: {kind}: {error}" if exc_info else f"{what} failed: {error}"
        )
        if (what, kind) not in self._told:
            self._told.add((what, kind))
            logger.warning(
                "%s; it is tried again, now and then", self._errors[what], exc_info=exc_info
            )

    def _delay_s(self) -> float:
        doublings = min(self._failures_in_a_row - 1, 20)
        return float(min(self._policy.upkeep_max_s, self._policy.upkeep_first_s * 2**doublings))

    def _count(self) -> None:
        self.stored.count(self._location)

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
        self.stored.add_bytes(sum(sizes))
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
            self.stored.count(self._location)
        return found
