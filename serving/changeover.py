"""Changing over to another number of shards, beside what is served, for as long as it takes."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from ps.errors import PsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ps.net.feed import LeaderFeed
    from serving.replica import LaidOut

logger = logging.getLogger(__name__)

# Between two tries: leaders of a new set come up one after the other.
_AGAIN_S = 0.2


class Changeover:
    """Lays out another set of shards in a thread of its own, again and again until it succeeds.

    feed: of the new set. lay_out: reads it. take_over: called once, with what was laid out; if it
    raises, all is done again.
    """

    def __init__(
        self,
        feed: LeaderFeed,
        lay_out: Callable[[LeaderFeed], LaidOut],
        take_over: Callable[[Changeover, LaidOut], None],
    ) -> None:
        self.feed = feed
        self._lay_out = lay_out
        self._take_over = take_over
        self._cancelled = threading.Event()
        self._fault: str | None = None
        self._thread = threading.Thread(target=self._run, name="changeover", daemon=True)

    @property
    def fault(self) -> str | None:
        """Why the last try failed; None: it has not failed yet."""
        return self._fault

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def cancel(self) -> None:
        """Give up; nothing is taken over unless that has begun. Does not wait."""
        self._cancelled.set()
        self.feed.close(timeout_s=0.0)

    def _run(self) -> None:
        while not self._cancelled.is_set():
            try:
                self._take_over(self, self._lay_out(self.feed))
            except Exception as error:  # noqa: BLE001  # whatever it is, what is served is served on
                self._note(error)
                self._cancelled.wait(_AGAIN_S)
            else:
                return

    def _note(self, error: Exception) -> None:
        if self._cancelled.is_set():
            return
        first, self._fault = self._fault is None, f"{type(error).__name__}: {error}"
        shards = self.feed.directory.shards
        if not isinstance(error, PsError):
            logger.error("cannot change over to %d shard(s) for now", shards, exc_info=error)
        elif first:
            logger.warning("cannot change over to %d shard(s) for now: %s", shards, error)
