"""Epochs on their way to the store: in order, and merged where the store cannot keep up."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from ps.blocklog import block_bytes
from ps.store.merge import merge_blocks

if TYPE_CHECKING:
    from ps.store.writer import Epoch


class WaitingEpochs:
    """A queue between the trainer, which never waits, and the thread that commits.

    Beyond max_bytes or max_epochs all that wait are merged into one epoch (a row touched in several
    is kept once), by a thread of its own: memory then grows no further than the rows there are, and
    what is lost is restore points between, never learning. The epoch being committed is not touched.
    """

    def __init__(self, max_bytes: int = 256 << 20, max_epochs: int = 64) -> None:
        self._max_bytes = max_bytes
        self._max_epochs = max_epochs
        self._changed = threading.Condition()
        self._epochs: deque[tuple[Epoch, int]] = deque()
        self._in_hand = False
        self._merging: threading.Thread | None = None
        self._merged_bytes = 0
        self._closed = False

    @property
    def epochs(self) -> int:
        """How many wait, the one being committed included."""
        return len(self._epochs)

    @property
    def bytes(self) -> int:
        """About how much memory they keep alive."""
        with self._changed:
            return sum(size for _, size in self._epochs)

    def put(self, epoch: Epoch) -> None:
        """Add the next epoch; returns at once."""
        with self._changed:
            self._epochs.append((epoch, sum(block_bytes(block) for block in epoch.blocks)))
            self._changed.notify_all()
            waiting = sum(size for _, size in self._epochs)
            # Merging must have something to gain: twice what the last merge left, or too many.
            crowded = waiting > max(self._max_bytes, 2 * self._merged_bytes)
            if (crowded or len(self._epochs) > self._max_epochs) and self._merging is None:
                self._merging = threading.Thread(
                    target=self._merge, name="merge-epochs", daemon=True
                )
                self._merging.start()

    def take(self, timeout_s: float | None = None) -> Epoch | None:
        """The oldest epoch, which stays in the queue until done() is called; None: closed and empty,
        or nothing came in time. Taking it again before done() gives the same one.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._epochs or self._closed, timeout_s)
            if not self._epochs:
                return None
            self._in_hand = True
            return self._epochs[0][0]

    def done(self) -> None:
        """The epoch last taken has been committed."""
        with self._changed:
            self._epochs.popleft()
            self._in_hand = False
            self._changed.notify_all()

    def wait_empty(self, timeout_s: float) -> bool:
        """Wait until all have been committed; False where the time ran out first."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._epochs, timeout_s)

    def close(self) -> None:
        """Nothing more will come; wakes who waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether close() has been called."""
        return self._closed

    def _merge(self) -> None:
        with self._changed:
            first = int(self._in_hand)
            chosen = [epoch for epoch, _ in list(self._epochs)[first:]]
        try:
            merged = merge_epochs(chosen) if len(chosen) > 1 else None
        finally:
            with self._changed:
                self._merging = None
        if merged is None:
            return
        size = sum(block_bytes(block) for block in merged.blocks)
        with self._changed:
            held = list(self._epochs)
            # The first of them may have been taken since, or even committed: then leave it at that.
            at = next((i for i, (epoch, _) in enumerate(held) if epoch is chosen[0]), None)
            if at is None or (at == 0 and self._in_hand):
                return
            self._merged_bytes = size
            self._epochs = deque([*held[:at], (merged, size), *held[at + len(chosen) :]])
            self._changed.notify_all()


def merge_epochs(epochs: list[Epoch]) -> Epoch:
    """Several epochs in a row as one, which ends where the last does. Raises what merge_blocks does."""
    by_shard = zip(*(epoch.blocks for epoch in epochs), strict=True)
    return replace(epochs[-1], blocks=tuple(merge_blocks(list(blocks)) for blocks in by_shard))
