"""Saving beside training: one thread commits, another compacts and prunes."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ps.errors import CorruptFileError, FencedError, PsError, StoreError, StoreUnavailableError
from ps.store.catalog import Catalog
from ps.store.compactor import compact
from ps.store.retention import RetentionPolicy, prune
from ps.store.waiting import WaitingEpochs

if TYPE_CHECKING:
    from ps.block import Cursor
    from ps.clock import Clock
    from ps.store.commit import Commit
    from ps.store.location import Location
    from ps.store.writer import Epoch, StoreWriter

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UpkeepPolicy:
    """When to compact, what to keep, how to try again.

    compact_blocks: after so many epochs since the bases. compact_share: or once the blocks since the
    bases weigh that share of them, and at least compact_least_bytes. compact_memory_bytes: what
    compaction may hold at once. prune_commits: look for what to delete after so many restore points.
    retry_first_s, retry_max_s: waits after failures in a row, doubling.
    """

    retention: RetentionPolicy = field(default_factory=RetentionPolicy)
    compact_blocks: int = 300
    compact_share: float = 1.0
    compact_least_bytes: int = 16 << 20
    compact_memory_bytes: int = 512 << 20
    prune_commits: int = 30
    retry_first_s: float = 0.1
    retry_max_s: float = 5.0


@dataclass(frozen=True, slots=True)
class BackgroundStatus:
    """How saving stands. state: ok, behind (epochs wait), failing (last_error says why)."""

    state: Literal["ok", "behind", "failing"]
    committed: Cursor | None
    committed_us: int | None
    waiting_epochs: int
    waiting_bytes: int
    restore_points: int
    stored_bytes: int
    compacting: bool
    last_error: str | None


class StoreThread:
    """Takes epochs from the trainer, which it never holds up, and sees to the store.

    submit, flush, status and close may be called from any thread. A store that fails or hangs delays
    commits, not training: epochs wait, and are merged where they are many. A writer that has been
    replaced (FencedError) or a defect ends it for good: check() then raises, and so does flush().
    """

    def __init__(
        self, location: Location, writer: StoreWriter, policy: UpkeepPolicy, *, clock: Clock
    ) -> None:
        self._location = location
        self._writer = writer
        self._policy = policy
        self._clock = clock
        self._waiting = WaitingEpochs()
        self._catalog = Catalog(location)
        self._stop = threading.Event()
        self._upkeep_due = threading.Event()
        self._upkeep_lock = threading.Lock()
        self._writer_lock = threading.Lock()
        self._last: Commit | None = None
        self._commits_since_prune = 0
        self._failures_in_a_row = 0
        self._last_error: str | None = None
        self._upkeep_error: str | None = None
        self._fatal: PsError | None = None
        self._compacting = False
        self._restore_points = 0
        self._stored_bytes = 0
        self._bytes_since_base = 0
        self._base_bytes = 0
        self._committer = threading.Thread(target=self._commit_all, name="commit", daemon=True)
        self._upkeeper = threading.Thread(target=self._keep_up, name="compact", daemon=True)

    def start(self) -> None:
        """Start both threads."""
        self._committer.start()
        self._upkeeper.start()

    @property
    def location(self) -> Location:
        """The store it writes to."""
        return self._location

    def submit(self, epoch: Epoch) -> None:
        """Hand over a sealed epoch; returns at once. Raises what check() does."""
        self.check()
        self._waiting.put(epoch)

    def check(self) -> None:
        """Raise what ended this thread for good: FencedError, or StoreError for a defect."""
        if self._fatal is not None:
            raise self._fatal

    @property
    def last_commit(self) -> Commit | None:
        """The newest restore point this thread has made."""
        return self._last

    def flush(self, timeout_s: float) -> Commit | None:
        """Wait until all that was submitted is committed; the newest commit.

        Raises StoreUnavailableError where that takes longer than timeout_s, and what check() does.
        """
        empty = self._waiting.wait_empty(timeout_s)
        self.check()
        if not empty:
            raise StoreUnavailableError(
                f"store {self._location.url}: {self._waiting.epochs} sealed epoch(s) are not saved "
                f"after {timeout_s:g} s ({self._last_error or 'the store has not answered'}); what "
                "they taught is learned again from the stream at the next start"
            )
        return self._last

    def compact_now(self) -> None:
        """Write new bases for the newest restore point, in the caller's thread. Raises StoreError."""
        with self._upkeep_lock:
            self._compact()

    def status(self) -> BackgroundStatus:
        """How saving stands; never waits for the store."""
        failing = self._failures_in_a_row > 1 or self._fatal is not None
        behind = self._waiting.epochs > 2
        last = self._last
        return BackgroundStatus(
            state="failing" if failing else "behind" if behind else "ok",
            committed=None if last is None else last.at,
            committed_us=None if last is None else last.created_us,
            waiting_epochs=self._waiting.epochs,
            waiting_bytes=self._waiting.bytes,
            restore_points=self._restore_points,
            stored_bytes=self._stored_bytes,
            compacting=self._compacting,
            last_error=str(self._fatal) if self._fatal else self._last_error or self._upkeep_error,
        )

    def close(self, timeout_s: float) -> None:
        """Commit what waits, finish what is under way, and stop; does not raise.

        A thread that hangs in the store is left behind: it is a daemon, and it is fenced.
        """
        self._waiting.close()
        if self._committer.is_alive():
            self._committer.join(timeout_s)
        self._stop.set()
        self._upkeep_due.set()
        if self._upkeeper.is_alive():
            self._upkeeper.join(timeout_s)

    def _commit_all(self) -> None:
        while not self._stop.is_set():
            epoch = self._waiting.take()
            if epoch is None:
                if self._waiting.closed:
                    return
                continue
            try:
                with self._writer_lock:
                    commit = self._writer.commit(epoch)
            except StoreUnavailableError as error:
                self._note_failure(error)
                if self._waiting.closed and self._failures_in_a_row > 3:
                    return
                self._stop.wait(self._delay_s())
                continue
            except PsError as error:
                self._end(error)
                return
            except Exception as error:
                logger.exception("saving has ended")
                self._end(StoreError(f"saving has ended: {type(error).__name__}: {error}"))
                return
            self._waiting.done()
            self._failures_in_a_row = 0
            self._last_error = None
            self._last = commit
            self._note_commit(commit)

    def _note_commit(self, commit: Commit) -> None:
        self._bytes_since_base += commit.bytes_written
        self._commits_since_prune += 1
        self._restore_points += 1
        self._stored_bytes += commit.bytes_written
        if self._is_compaction_due(commit) or self._is_pruning_due():
            self._upkeep_due.set()

    def _is_compaction_due(self, commit: Commit) -> bool:
        policy = self._policy
        heavy = max(policy.compact_least_bytes, policy.compact_share * self._base_bytes)
        blocks = max(len(chain.blocks) for chain in commit.shards)
        return blocks >= policy.compact_blocks or self._bytes_since_base >= heavy

    def _is_pruning_due(self) -> bool:
        return self._commits_since_prune >= self._policy.prune_commits

    def _note_failure(self, error: StoreError) -> None:
        if self._failures_in_a_row == 0:
            logger.warning("%s; training goes on, and saving is tried again", error)
        self._failures_in_a_row += 1
        self._last_error = str(error)

    def _delay_s(self) -> float:
        doublings = min(self._failures_in_a_row - 1, 20)
        return float(min(self._policy.retry_max_s, self._policy.retry_first_s * 2**doublings))

    def _end(self, error: PsError) -> None:
        if isinstance(error, FencedError):
            logger.error("%s", error)
        self._fatal = error

    def _keep_up(self) -> None:
        while True:
            self._upkeep_due.wait()
            if self._stop.is_set():
                return
            self._upkeep_due.clear()
            commit = self._last
            if commit is None:
                continue
            try:
                with self._upkeep_lock:
                    if self._is_compaction_due(commit):
                        self._compact()
                    self._prune()
                self._upkeep_error = None
            except (StoreError, CorruptFileError) as error:
                # The chains grow longer, nothing is lost; the next commit asks again.
                logger.warning("compaction or pruning failed: %s", error)
                self._upkeep_error = str(error)
            except Exception as error:
                logger.exception("compaction or pruning failed")
                self._upkeep_error = f"{type(error).__name__}: {error}"

    def _compact(self) -> None:
        """Put new bases in place of long chains:

        1. take the chains of the newest restore point
        2. write one base for each shard, each whole before it has its name
        3. let the next commits begin there; those that are there keep naming what they named
        """
        with self._writer_lock:
            chains = [chain for chain in self._writer.chains if chain.blocks]  # 1
        memory_bytes = self._policy.compact_memory_bytes
        since_base = self._bytes_since_base
        self._compacting = True
        try:
            sizes = [compact(self._location, c, memory_bytes=memory_bytes) for c in chains]  # 2
        finally:
            self._compacting = False
        with self._writer_lock:
            self._writer.adopt_bases({chain.shard: chain.cursor for chain in chains})  # 3
            self._base_bytes = sum(sizes)
            self._bytes_since_base -= since_base

    def _prune(self) -> None:
        self._commits_since_prune = 0
        prune(self._catalog, self._policy.retention, now_us=self._clock.now_us(), dry_run=False)
        points = self._catalog.points()
        self._restore_points = len(points)
