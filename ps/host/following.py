"""Following: a thread that keeps a standby current from its leader's blocks."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Protocol

from ps.errors import BlockGapError, ForeignBlockError, JobBusyError, PsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ps.block import Block, Cursor
    from ps.host.held import HeldShard
    from ps.net.feed_source import BlockSource

logger = logging.getLogger(__name__)

# One question to the leader lasts so long where it has nothing new.
_POLL_S = 10.0
# After an error, or having begun anew to no avail, it is asked again so much later.
_RETRY_S = 0.5
_BEGINNINGS_AT_ONCE = 2


class Beginnings(Protocol):
    """Where a standby can begin. Each returns a shard of its own, or raises PsError."""

    def from_store(self) -> HeldShard:
        """As the newest restore point has it."""
        ...

    def from_base(self, base: Block) -> HeldShard:
        """As a base block has it."""
        ...

    def saved(self) -> Cursor | None:
        """Where the store stands; None where it has no restore point."""
        ...


class Following:
    """Follows one leader from start() to end(); where its blocks do not fit, begins anew beside.

    A base has what its leader has learned since its last epoch, which is in no block yet: whoever led
    on from there would never tell. So what begins with one waits for the next block, which brings that
    again, before it may be asked to lead.

    held: what goes on, None: nothing that can. replaces: whether the host holds something, which may
    be asked to lead until what was begun has been seen to fit the leader: it can be further on.
    install: called with what was begun, to take its place; False where it is not wanted any more.
    """

    def __init__(
        self,
        name: str,
        held: HeldShard | None,
        connect: Callable[[], BlockSource],
        beginnings: Beginnings,
        install: Callable[[Following, HeldShard], bool],
        *,
        replaces: bool,
    ) -> None:
        self.last_error: str | None = None
        self._held = held
        self._begun: HeldShard | None = None  # not installed yet
        self._begun_amid_epoch = False
        self._replaces = replaces
        self._connect = connect
        self._beginnings = beginnings
        self._install = install
        self._feed: BlockSource | None = None
        self._feeding = threading.Lock()
        self._ended = threading.Event()
        self._beginnings_made = 0  # since blocks were last read without a gap
        self._thread = threading.Thread(target=self._run, name=f"follow-{name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def goes_on(self) -> bool:
        """Whether it has not been ended."""
        return not self._ended.is_set()

    def end(self) -> None:
        """Apply nothing any more, from now on but for a block that is being applied. Returns at once."""
        self._ended.set()
        self._hang_up()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread, after end(); False where it is still at something."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while self.goes_on:
            try:
                self._step(self._connected())
                self.last_error = None
            except Exception as error:
                self._hang_up()
                if self._ended.is_set():
                    return
                self.last_error = str(error)
                if isinstance(error, PsError):
                    logger.warning("cannot follow, for now: %s", error)
                else:
                    logger.exception("cannot follow, for now")
                self._ended.wait(_RETRY_S)

    def _step(self, feed: BlockSource) -> None:
        held = self._begun or self._held
        if held is None:
            self._begin(feed)
            return
        try:
            is_to_fit = held is self._begun and not self._begun_amid_epoch
            blocks = feed.read(held.unsaved.end, 0.0 if is_to_fit else _POLL_S)
            for block in blocks:
                held.follow(block, lambda: self.goes_on)
        except (BlockGapError, ForeignBlockError) as error:
            logger.info("begins anew: %s", error)
            self._begin(feed)
            return
        self._beginnings_made = 0
        if held is self._begun:
            if blocks or not self._begun_amid_epoch:
                self._take(held)
        elif held.unsaved.crowded():
            self._thin_out(held)

    def _thin_out(self, held: HeldShard) -> None:
        """Drop what the store has before blocks are merged between which it may stand."""
        try:
            saved = self._beginnings.saved()
        except PsError as error:
            logger.warning("cannot see what is saved, for now: %s", error)
        else:
            if saved is not None:
                held.unsaved.forget(saved)
        held.thin_out()

    def _begin(self, feed: BlockSource) -> None:
        """Anew: from the store, and from a base of the leader where that cannot be or did not help."""
        if self._beginnings_made >= _BEGINNINGS_AT_ONCE:
            self._ended.wait(_RETRY_S)
        if self._ended.is_set():
            return
        held = None
        if self._beginnings_made % 2 == 0:
            try:
                held = self._beginnings.from_store()
            except PsError as error:
                logger.info("begins with a base of the leader: %s", error)
        self._beginnings_made += 1
        self._begun_amid_epoch = held is None
        if held is None:
            held = self._beginnings.from_base(feed.base())
        if self._replaces or self._begun_amid_epoch:
            self._begun = held
        else:
            self._take(held)

    def _take(self, held: HeldShard) -> None:
        self._begun = None
        if self._install(self, held):
            self._held, self._replaces = held, True

    def _connected(self) -> BlockSource:
        with self._feeding:
            if self._ended.is_set():
                raise JobBusyError("it is followed no more")
            if self._feed is None:
                self._feed = self._connect()
            return self._feed

    def _hang_up(self) -> None:
        with self._feeding:
            feed, self._feed = self._feed, None
        if feed is not None:
            feed.close()
