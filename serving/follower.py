"""The reader loop that keeps a replica current from a feed of blocks."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ps.errors import BlockGapError, ForeignBlockError, PsError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from ps.block import Block
    from serving.replica import Replica

logger = logging.getLogger(__name__)


class BlockFeed(Protocol):
    """Where blocks come from: ps.blocklog.BlockLog in this process, or a store or stream elsewhere."""

    def read(self, shard: int, after_epoch: int, *, generation: int) -> list[Block]:
        """The blocks after a cursor, in order, as many as is convenient; none where it is current.

        Raises BlockGapError where the next one has been trimmed, ForeignBlockError where the shard
        has gone on to another generation.
        """
        ...

    def base(self, shard: int) -> Block:
        """A base block of the newest generation."""
        ...


@dataclass(frozen=True, slots=True)
class RetryDelays:
    """How long to wait after failures in a row: first_s, doubled each time, at most max_s."""

    first_s: float = 0.05
    max_s: float = 5.0

    def after(self, failures: int) -> float:
        """The wait after the given number of failures in a row, from 1."""
        # Beyond 2^20 times the first wait the bound decides; a larger power would overflow.
        return float(min(self.max_s, self.first_s * 2 ** min(failures - 1, 20)))


@dataclass(frozen=True, slots=True)
class FollowerStatus:
    """A follower at a glance. failures counts all; failures_in_a_row is 0 when all is well."""

    running: bool
    bases_read: int
    failures: int
    failures_in_a_row: int
    last_error: str | None


class Follower:
    """Reads a feed into a replica, in a thread of its own or by hand.

    The thread waits to be woken (`wake`, which a feed in this process calls on every new block), looks
    of itself every poll_s, and outlives any error of the feed or of a block.
    """

    def __init__(
        self,
        replica: Replica,
        feed: BlockFeed,
        *,
        poll_s: float = 0.25,
        delays: RetryDelays | None = None,
    ) -> None:
        self._replica = replica
        self._feed = feed
        self._poll_s = poll_s
        self._delays = delays or RetryDelays()
        self._changed = threading.Condition()
        self._woken = False
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._bases_read = 0
        self._failures = 0
        self._failures_in_a_row = 0
        self._last_error: str | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the thread, which catches up at once."""
        if self._thread is not None:
            raise RuntimeError("this follower was started before; make another one")
        self._thread = threading.Thread(target=self._run, name="block-follower", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Say that there may be new blocks. Returns at once; calls that come together count as one."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Stop after the block at hand; whether the thread has ended within timeout_s."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def status(self) -> FollowerStatus:
        """Whether it runs, and what went wrong last."""
        return FollowerStatus(
            running=self._thread is not None and self._thread.is_alive(),
            bases_read=self._bases_read,
            failures=self._failures,
            failures_in_a_row=self._failures_in_a_row,
            last_error=self._last_error,
        )

    def catch_up(self) -> int:
        """Apply what the feed has now, of every shard; how many blocks were applied.

        Not to be called while the thread runs. A shard that fails does not hold up the others; the
        first error is raised when all have been tried.
        """
        applied = 0
        errors: list[Exception] = []
        behind = list(range(self._replica.shards))
        while behind and not self._stopping:
            # Round and round, so that a busy shard does not keep the others waiting.
            for shard in tuple(behind):
                try:
                    step = self._advance(shard)
                except Exception as error:  # noqa: BLE001  # raised below, when all had their turn
                    self._log(shard, error)
                    errors.append(error)
                    step = 0
                applied += step
                if step == 0:
                    behind.remove(shard)
        if errors:
            raise errors[0]
        return applied

    def _log(self, shard: int, error: Exception) -> None:
        """Say what is wrong, once while it stays wrong; where it is a surprise, from where it came."""
        text = f"shard {shard}: the replica cannot follow, for now"
        if not isinstance(error, PsError):
            logger.error(text, exc_info=error)
        elif self._failures_in_a_row == 0:
            logger.warning("%s: %s", text, error)

    def _advance(self, shard: int) -> int:
        """Apply one read's worth of a shard's blocks, or a base where there is no way on."""
        cursor = self._replica.cursor(shard)
        if cursor is None:
            return self._start_over(shard)
        applied = 0
        try:
            for block in self._feed.read(shard, cursor.epoch, generation=cursor.generation):
                if self._stopping:
                    break
                applied += self._replica.apply(block)
        except (BlockGapError, ForeignBlockError) as error:
            logger.warning("%s; reading a base block", error)
            return applied + self._start_over(shard)
        return applied

    def _start_over(self, shard: int) -> int:
        applied = self._replica.apply(self._feed.base(shard))
        self._bases_read += 1
        return int(applied)

    def _run(self) -> None:
        while not self._stopping:
            try:
                self.catch_up()
            except Exception as error:  # noqa: BLE001  # catch_up has logged it; a follower lives on
                self._failures += 1
                self._failures_in_a_row += 1
                self._last_error = f"{type(error).__name__}: {error}"
                self._pause(self._delays.after(self._failures_in_a_row))
            else:
                self._failures_in_a_row = 0
                self._wait_for_news()

    def _wait_for_news(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._woken or self._stopping, self._poll_s)
            self._woken = False

    def _pause(self, seconds: float) -> None:
        """Wait after an error. News does not shorten it, a stop does."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, seconds)
