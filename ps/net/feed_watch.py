"""Watching one shard: a thread that waits for its next block, and tells at once when there is one."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from ps.errors import BlockGapError, ForeignBlockError, PsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ps.block import Block, Cursor
    from ps.net.feed_source import BlockSource

logger = logging.getLogger(__name__)

# How long a leader may keep a question for news; a quiet shard costs one call in this time.
WAIT_S = 5.0
# Between two tries of a source that fails: doubled each time from the first to the last.
_FIRST_DELAY_S = 0.02
_LAST_DELAY_S = 0.5
# After an answer without news, so that a source that does not wait is not asked in a circle.
_BREATH_S = 0.01


class Watch:
    """Fetches what follows a cursor, one answer ahead of whoever takes it.

    on_news: called in the watching thread when there are blocks to be taken, or an error that changes
    what the reader should do.
    """

    def __init__(
        self,
        shard: int,
        source: BlockSource,
        on_news: Callable[[], None],
        *,
        wait_s: float = WAIT_S,
    ) -> None:
        self._source = source
        self._on_news = on_news
        self._wait_s = wait_s
        self._changed = threading.Condition()
        self._stopped = False
        self._begin: Cursor | None = None  # where the reader stands who may take what is here
        self._end: Cursor | None = None  # what is fetched next follows this
        self._fetched: list[Block] = []
        self._no_way_on: PsError | None = None
        self._fault: str | None = None
        self._thread = threading.Thread(target=self._run, name=f"watch-{shard}", daemon=True)

    @property
    def fault(self) -> str | None:
        """Why the source does not answer; None where it does."""
        return self._fault

    def start(self, after: Cursor | None) -> None:
        """Start the thread, from a cursor if one is known."""
        self._begin = self._end = after
        self._thread.start()

    def take(self, after: Cursor) -> list[Block]:
        """What has been fetched for a reader at a cursor; it is fetched for that one from now on.

        Raises BlockGapError, ForeignBlockError where the source has no way on from there.
        """
        with self._changed:
            if after != self._begin:
                self._begin = self._end = after
                self._fetched = []
                self._no_way_on = None
            elif self._no_way_on is not None:
                raise self._no_way_on
            taken, self._fetched = self._fetched, []
            self._begin = self._end
            self._changed.notify_all()
            return taken

    def rest(self) -> None:
        """Fetch nothing until something is taken again; what was fetched is dropped."""
        with self._changed:
            self._begin = self._end = None
            self._fetched = []
            self._no_way_on = None

    def stop(self) -> None:
        """End for good; does not wait for a call under way, and nothing comes of it any more."""
        with self._changed:
            self._stopped = True
            self._fetched = []
            self._changed.notify_all()

    def join(self, timeout_s: float) -> None:
        """Wait until the thread has ended."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _is_wanted(self) -> bool:
        return self._end is not None and not self._fetched and self._no_way_on is None

    def _run(self) -> None:
        failures = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._is_wanted())
                after = self._end
            if self._stopped or after is None:
                return
            try:
                blocks = self._source.read(after, self._wait_s)
            except (BlockGapError, ForeignBlockError) as error:
                failures, self._fault = 0, None
                news = self._note(after, [], error)
            except Exception as error:  # noqa: BLE001  # a watch outlives whatever its source does
                failures += 1
                news = False
                self._note_fault(error, failures)
                self._pause(min(_LAST_DELAY_S, _FIRST_DELAY_S * 2 ** min(failures - 1, 20)))
            else:
                failures, self._fault = 0, None
                news = self._note(after, blocks, None)
                if not blocks:
                    self._pause(_BREATH_S)
            if news:
                self._on_news()

    def _note(self, after: Cursor, blocks: list[Block], no_way_on: PsError | None) -> bool:
        """Keep an answer, unless something else is wanted by now; whether there is news."""
        with self._changed:
            if self._stopped or after != self._end:
                return False
            self._fetched = blocks
            self._no_way_on = no_way_on
            if blocks:
                self._end = blocks[-1].cursor
            return bool(blocks) or no_way_on is not None

    def _note_fault(self, error: Exception, failures: int) -> None:
        if self._stopped:
            return
        fault = f"{type(error).__name__}: {error}"
        if not isinstance(error, PsError):
            logger.error("watching for blocks failed", exc_info=error)
        elif failures == 1:
            logger.info("%s", fault)
        self._fault = fault

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped, seconds)
