"""Saving beside training: a thread that commits; another (ps.store.upkeep) compacts and prunes."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ps.blocklog import block_bytes
from ps.errors import FencedError, PsError, StoreError, StoreUnavailableError
from ps.priority import run_behind_training
from ps.store.upkeep import HELD_WITHIN_S, Upkeep
from ps.store.waiting import WaitingEpochs

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ps.block import Cursor
    from ps.clock import Clock
    from ps.store.commit import Commit
    from ps.store.location import Location
    from ps.store.retention import PrunePlan
    from ps.store.upkeep import UpkeepPolicy
    from ps.store.writer import Epoch, StoreWriter

logger = logging.getLogger(__name__)

# A commit that takes longer is one the store does not answer; and what a slow store moves meanwhile.
_PATIENCE_S = 10.0
_BYTES_PER_S = 8 << 20


@dataclass(frozen=True, slots=True)
class BackgroundStatus:
    """How saving stands. state: ok, behind (epochs wait), failing (last_error says why): it is also
    where the store does not answer.
    """

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
        self,
        location: Location,
        writer: StoreWriter,
        policy: UpkeepPolicy,
        *,
        clock: Clock,
        restored: Cursor | None = None,
        writing_since: int | None = None,
    ) -> None:
        """restored, writing_since: see Upkeep."""
        self._location = location
        self._writer = writer
        self._policy = policy
        self._clock = clock
        self._waiting = WaitingEpochs()
        self._upkeep = Upkeep(
            location,
            writer,
            policy,
            clock=clock,
            restored=restored,
            writing_since=writing_since,
        )
        self._stop = threading.Event()
        self._last: Commit | None = None
        self._failures_in_a_row = 0
        # Since when the epoch in hand is tried, and since when this time; how long that may take.
        self._first_tried_s: float | None = None
        self._trying_s: float | None = None
        self._patience_s = _PATIENCE_S
        self._last_error: str | None = None
        self._fatal: PsError | None = None
        self._committer = threading.Thread(target=self._commit_all, name="commit", daemon=True)

    def start(self) -> None:
        """Start both threads."""
        self._committer.start()
        self._upkeep.start()

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

    def upkeep_held(self, timeout_s: float = HELD_WITHIN_S) -> AbstractContextManager[None]:
        """Neither compaction nor pruning meanwhile, by whatever thread; waits for what is under way.

        For who writes or reads files that no restore point names yet. Raises StoreUnavailableError
        where what is under way takes longer.
        """
        return self._upkeep.held(timeout_s)

    def compact_now(self) -> None:
        """Write new bases for the newest restore point, in the caller's thread. Raises StoreError."""
        self._upkeep.compact_now()

    def prune_now(self, *, dry_run: bool = False) -> PrunePlan:
        """Delete what the policy does not keep, in the caller's thread; with dry_run, only say what.

        Raises StoreError, CorruptFileError.
        """
        return self._upkeep.prune_now(dry_run=dry_run)

    def status(self) -> BackgroundStatus:
        """How saving stands; never waits for the store."""
        late, silent = self._lateness()
        failing = self._failures_in_a_row > 1 or self._fatal is not None or late
        behind = self._waiting.epochs > 2
        last = self._last
        return BackgroundStatus(
            state="failing" if failing else "behind" if behind else "ok",
            committed=None if last is None else last.at,
            committed_us=None if last is None else last.created_us,
            waiting_epochs=self._waiting.epochs,
            waiting_bytes=self._waiting.bytes,
            restore_points=self._upkeep.stored.points,
            stored_bytes=self._upkeep.stored.bytes,
            compacting=self._upkeep.compacting,
            last_error=str(self._fatal)
            if self._fatal
            else silent or self._last_error or self._upkeep.error,
        )

    def _lateness(self) -> tuple[bool, str | None]:
        """Whether the epoch in hand is tried for too long; what to say where the store is silent."""
        first_tried_s, trying_s = self._first_tried_s, self._trying_s
        now_s = self._clock.monotonic_s()
        late = first_tried_s is not None and now_s - first_tried_s > self._patience_s
        silent_s = 0.0 if trying_s is None else now_s - trying_s
        if silent_s <= self._patience_s:
            return late, None
        return True, (
            f"store {self._location.url} has not answered for {silent_s:.0f} s; check that it can be "
            "reached. Training goes on, and saving as soon as it answers"
        )

    def close(self, timeout_s: float) -> None:
        """Commit what waits, finish what is under way, and stop; does not raise.

        A thread that hangs in the store is left behind: it is a daemon, and it is fenced.
        """
        self._waiting.close()
        if self._committer.is_alive():
            self._committer.join(timeout_s)
        self._stop.set()
        self._upkeep.close(timeout_s)

    def _commit_all(self) -> None:
        run_behind_training()
        while not self._stop.is_set():
            epoch = self._waiting.take()
            if epoch is None:
                if self._waiting.closed:
                    return
                continue
            self._try(epoch)
            try:
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
            self._first_tried_s = self._trying_s = None
            self._waiting.done()
            self._failures_in_a_row = 0
            self._last_error = None
            self._last = commit
            self._upkeep.note(commit)

    def _try(self, epoch: Epoch) -> None:
        n_bytes = sum(block_bytes(block) for block in epoch.blocks)
        self._patience_s = _PATIENCE_S + n_bytes / _BYTES_PER_S
        self._trying_s = self._clock.monotonic_s()
        if self._first_tried_s is None:
            self._first_tried_s = self._trying_s

    def _note_failure(self, error: StoreError) -> None:
        self._trying_s = None
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
