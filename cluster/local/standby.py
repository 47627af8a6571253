"""Standbys: a second shard for each, which follows its blocks and can take its place at once."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from ps.errors import BlockGapError, ForeignBlockError, PsError
from ps.shard import Shard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ps.block import Cursor
    from ps.blocklog import BlockLog
    from ps.shard import ShardSpec

logger = logging.getLogger(__name__)

# Every sealed block wakes the thread; it looks of itself this often, to get over an error.
_POLL_S = 1.0


class Standbys:
    """Hot copies of all shards, kept current from the log by one thread.

    take() and reset() are the training thread's, between two batches; epochs is anybody's.
    """

    def __init__(self, specs: Sequence[ShardSpec], log: BlockLog) -> None:
        self._specs = list(specs)
        self._log = log
        self._shards = [Shard(spec) for spec in specs]
        # Where a base put each that has applied no block since: it has of the epoch after it what no
        # block of its own would have.
        self._begun_at: list[Cursor | None] = [None] * len(specs)
        self._applying = threading.Lock()
        self._changed = threading.Condition()
        self._woken = False
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Catch up, and start the thread: before training begins, which a base read later would hold up.

        Raises what the log and the shards raise.
        """
        for number in range(len(self._shards)):
            self.catch_up(number)
            self._begun_at[number] = None  # nothing has been learned beyond
        self._thread = threading.Thread(target=self._run, name="standbys", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Stop after the block at hand."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def wake(self) -> None:
        """Say that there are new blocks; returns at once."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    @property
    def running(self) -> bool:
        """Whether the thread has been started."""
        return self._thread is not None

    @property
    def epochs(self) -> list[int]:
        """How far each has come."""
        return [shard.cursor.epoch for shard in self._shards]

    def catch_up(self, number: int) -> None:
        """Apply what the log has of one shard; from a base where there is no other way.

        Raises what the log and the shard raise.
        """
        with self._applying:
            self._follow(number)

    def take(self, number: int, at: Cursor) -> Shard | None:
        """The standby of a shard, if it stands (or can be brought) at a cursor; None if not, or if it
        began with a base amid the epoch that is under way.

        It follows no longer: an empty one takes its place, and starts from a base.
        """
        with self._applying:
            try:
                self._read_on(number)
            except PsError as error:
                logger.warning("the standby of shard %d cannot follow: %s", number, error)
            standby = self._shards[number]
            if standby.cursor != at or self._begun_at[number] == at:
                return None
            self._shards[number] = Shard(self._specs[number])
            return standby

    def reset(self, specs: Sequence[ShardSpec]) -> None:
        """Begin afresh as standbys of another set of shards."""
        with self._applying:
            self._specs = list(specs)
            self._shards = [Shard(spec) for spec in specs]
            self._begun_at = [None] * len(specs)

    def _follow(self, number: int) -> None:
        try:
            self._read_on(number)
        except (BlockGapError, ForeignBlockError) as error:
            logger.info("the standby of shard %d starts from a base: %s", number, error)
            fresh = Shard(self._specs[number])
            fresh.apply(self._log.base(number))
            self._shards[number] = fresh
            self._begun_at[number] = fresh.cursor
            self._read_on(number)

    def _read_on(self, number: int) -> None:
        standby = self._shards[number]
        while True:
            at = standby.cursor
            blocks = self._log.read(number, at.epoch, generation=at.generation)
            if not blocks:
                return
            for block in blocks:
                standby.apply(block)

    def _run(self) -> None:
        while not self._stopping:
            for number in range(len(self._shards)):
                try:
                    self.catch_up(number)
                except Exception:
                    logger.exception("the standby of shard %d cannot follow, for now", number)
            with self._changed:
                self._changed.wait_for(lambda: self._woken or self._stopping, _POLL_S)
                self._woken = False
