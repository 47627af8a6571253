"""Saving: sealed epochs on their way from the training thread to the store's."""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from cluster.local.schedule import Schedule
from ps.errors import FencedError, PsError, StoreError, StoreUnavailableError
from ps.priority import run_behind_training
from ps.store.waiting import merge_epochs
from ps.store.writer import Epoch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.local.epochs import SealedEpoch
    from ps.block import Block
    from ps.clock import Clock
    from ps.shard import Shard
    from ps.store.background import StoreThread
    from ps.store.claim import Claim
    from ps.store.commit import Commit

logger = logging.getLogger(__name__)

# While nothing is saved, the claim is kept fresh; by itself it is written far less often.
_RENEW_S = 5.0
_LOOK_S = 0.02


class Saving:
    """Makes one restore point every every_s of the epochs there are, and none where nothing happened.

    put() is the training thread's and returns at once; merging and encoding is done by a thread
    here, saving by the store's. claim: kept fresh meanwhile. shards: as they stand in the store.
    """

    def __init__(
        self,
        store: StoreThread,
        claim: Claim,
        every_s: float,
        clock: Clock,
        shards: Sequence[Shard],
    ) -> None:
        self._store = store
        self._claim = claim
        self._schedule = Schedule(every_s)
        self._clock = clock
        self._collected: list[SealedEpoch] = []
        self._positions = [shard.positions() for shard in shards]
        self._changed = threading.Condition()
        self._waiting: deque[tuple[SealedEpoch, ...]] = deque()
        self._closed = False
        self._error: PsError | None = None
        self._thread = threading.Thread(target=self._run, name="save-epochs", daemon=True)
        self._thread.start()

    @property
    def error(self) -> PsError | None:
        """What ended saving for good; None: nothing."""
        return self._error

    def put(self, epoch: SealedEpoch) -> None:
        """Take the next epoch. Raises FencedError where another writer has taken over."""
        if isinstance(self._error, FencedError):
            raise self._error
        if self._is_quiet(epoch) and self._collected and self._is_quiet(self._collected[-1]):
            self._collected[-1] = _one_quiet(self._collected[-1], epoch)
        else:
            self._collected.append(epoch)
        now_s = self._clock.monotonic_s()
        due = self._schedule.is_due(now_s)
        if epoch.asked_for or (due and not all(map(self._is_quiet, self._collected))):
            self._hand_over(now_s)

    def flush(self, timeout_s: float) -> Commit | None:
        """Save all that was put, now: the training thread's. The newest restore point of this run.

        Raises StoreUnavailableError where that takes longer, and StoreError where saving has ended.
        """
        if not all(map(self._is_quiet, self._collected)):
            self._hand_over(self._clock.monotonic_s())
        with self._changed:
            if not self._changed.wait_for(lambda: not self._waiting, timeout_s):
                raise StoreUnavailableError(f"epochs were not made ready within {timeout_s:g} s")
        self._check()
        return self._store.flush(timeout_s)

    def wait_saved(self, epoch: int, timeout_s: float) -> None:
        """Wait until an epoch that was asked for is in a restore point. Raises what flush() raises."""
        pause = threading.Event()
        for _ in range(max(1, round(timeout_s / _LOOK_S))):
            self._check()
            self._store.check()
            saved = self._store.last_commit
            if saved is not None and saved.at.epoch >= epoch:
                return
            pause.wait(_LOOK_S)
        raise StoreUnavailableError(
            f"epoch {epoch} was not saved within {timeout_s:g} s "
            f"({self._store.status().last_error or 'the store has not answered'})"
        )

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def close(self, timeout_s: float) -> None:
        """Stop once what was handed over is on its way."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout_s)

    def _is_quiet(self, epoch: SealedEpoch) -> bool:
        """Whether nothing happened since what was handed over last."""
        return self._positions == _positions(epoch) and not any(map(_has_changes, epoch.blocks))

    def _hand_over(self, now_s: float) -> None:
        if not self._collected:
            return
        self._schedule.done(now_s)
        self._positions = _positions(self._collected[-1])
        with self._changed:
            self._waiting.append(tuple(self._collected))
            self._changed.notify_all()
        self._collected.clear()

    def _run(self) -> None:
        run_behind_training()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed, _RENEW_S)
                group = self._waiting[0] if self._waiting else None
                if group is None and self._closed:
                    return
            try:
                if group is None:
                    self._claim.renew()
                    continue
                self._store.submit(_as_one(group))
            except StoreUnavailableError as error:
                logger.warning("%s", error)
            except PsError as error:
                self._note(error)
            except Exception as error:
                logger.exception("saving has ended")
                self._note(StoreError(f"saving has ended: {type(error).__name__}: {error}"))
            if group is not None:
                with self._changed:
                    self._waiting.popleft()
                    self._changed.notify_all()

    def _note(self, error: PsError) -> None:
        if self._error is None:
            logger.error("%s; training goes on, and is not saved", error)
            self._error = error


def _as_one(epochs: Sequence[SealedEpoch]) -> Epoch:
    """What the store is given: the blocks merged, the worker's state as of the last, encoded."""
    last = epochs[-1]
    worker = last.worker.encode()
    parts = [Epoch(one.blocks, worker, last.skips, last.rows) for one in epochs]
    return parts[0] if len(parts) == 1 else merge_epochs(parts)


def _positions(epoch: SealedEpoch) -> list[dict[str, int]]:
    return [dict(block.positions) for block in epoch.blocks]


def _has_changes(block: Block) -> bool:
    return (
        bool(block.dense)
        or any(change.lines.size for change in block.filters.values())
        or any(table.fids.size or table.removed.size for table in block.tables.values())
    )


def _one_quiet(before: SealedEpoch, after: SealedEpoch) -> SealedEpoch:
    """Two epochs in which nothing happened, as one."""
    blocks = tuple(
        replace(later, after=earlier.follows)
        for earlier, later in zip(before.blocks, after.blocks, strict=True)
    )
    return replace(after, blocks=blocks)
