"""What a replica elsewhere follows: the leaders of the shards there are, whatever their number becomes."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from ps.net.feed import LeaderFeed
from serving.changeover import Changeover
from serving.follower import Follower, RetryDelays
from serving.from_specs import owner_of, stores_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ps.directory import Directory
    from ps.net.feed import Connect
    from ps.net.feed_store import StoredBlocks
    from ps.shard_spec import ShardSpec
    from serving.replica import LaidOut, Replica

logger = logging.getLogger(__name__)

# Every sealed block wakes the follower; it looks of itself this often.
_POLL_S = 1.0
# A leader that is being replaced is there again within seconds, and then nobody should wait.
_DELAYS = RetryDelays(max_s=0.5)


class Following:
    """Keeps a replica current from the leaders of the latest directory.

    Where that has another number of shards, the new set is built beside what is served, and takes its
    place once it is whole; until then the replica follows the old leaders, as far as they are there.
    specs: of the shards, for any number of them.
    """

    def __init__(
        self,
        replica: Replica,
        specs: Callable[[int], Sequence[ShardSpec]],
        connect: Connect,
        store: StoredBlocks | None,
    ) -> None:
        self._replica = replica
        self._specs = specs
        self._connect = connect
        self._store = store
        self._changing = threading.RLock()
        self._publishing = True
        self._stopped = False
        self._directory: Directory | None = None
        self._feed: LeaderFeed | None = None
        self._follower: Follower | None = None
        self._change: Changeover | None = None

    @property
    def follower(self) -> Follower | None:
        """What applies blocks now; None before the first directory."""
        return self._follower

    @property
    def feed(self) -> LeaderFeed | None:
        """Where its blocks come from."""
        return self._feed

    @property
    def fault(self) -> str | None:
        """What is wrong with where blocks come from; None: nothing."""
        change, feed = self._change, self._feed
        if change is not None and change.fault is not None:
            return change.fault
        return None if feed is None else next(iter(feed.status().faults.values()), None)

    def turn_to(self, directory: Directory, *, publishing: bool) -> None:
        """Go by this directory from now on, unless a newer one is known; returns at once.

        publishing: False: apply nothing from now on.
        """
        with self._changing:
            if self._stopped or not directory.shards:
                return
            if self._directory is None or directory.version > self._directory.version:
                self._directory = directory
                self._turn(directory)
            self._publishing = publishing
            for feed in (self._feed, None if self._change is None else self._change.feed):
                if feed is not None and publishing:
                    feed.resume()
                elif feed is not None:
                    feed.pause()

    def stop(self) -> None:
        """Follow no more; what the replica has can still be read."""
        with self._changing:
            self._stopped = True
            change, feed, follower = self._change, self._feed, self._follower
            self._change = None
        if change is not None:
            change.cancel()
        if feed is not None:
            feed.close()
        if follower is not None:
            follower.stop()

    def _turn(self, directory: Directory) -> None:
        if self._change is not None and self._change.feed.directory.shards == directory.shards:
            self._change.feed.turn_to(directory)
            return
        if self._change is not None:
            self._change.cancel()
            self._change = None
        if directory.shards != self._replica.shards:
            self._change = Changeover(self._new_feed(directory), self._lay_out, self._take_over)
            self._change.start()
        elif self._feed is None:
            self._feed = self._new_feed(directory)
            self._follower = self._follow(self._feed)
        else:
            self._feed.turn_to(directory)

    def _new_feed(self, directory: Directory) -> LeaderFeed:
        return LeaderFeed(directory, self._connect, store=self._store, paused=not self._publishing)

    def _follow(self, feed: LeaderFeed) -> Follower:
        follower = Follower(self._replica, feed, poll_s=_POLL_S, delays=_DELAYS)
        feed.when_news(follower.wake)
        follower.start()
        return follower

    def _lay_out(self, feed: LeaderFeed) -> LaidOut:
        shards = feed.directory.shards
        stores = stores_of(self._specs(shards))
        return self._replica.lay_out(map(feed.base, range(shards)), tables=stores)

    def _take_over(self, change: Changeover, laid_out: LaidOut) -> None:
        """Serve another set of shards, and follow it:

        1. end what follows the old one, so that no block of it meets the new one
        2. serve the new set, from one moment to the next
        3. follow on from its bases
        """
        with self._changing:
            if self._stopped or self._change is not change:
                return
            feed, follower = self._feed, self._follower
            if feed is not None:
                feed.close()  # 1
            if follower is not None and not follower.stop():
                raise TimeoutError(
                    "the replica is still busy with a block of the shards there were"
                )
            self._replica.switch(laid_out, owner_of(len(laid_out.shards)))  # 2
            self._feed, self._change = change.feed, None
            self._follower = self._follow(change.feed)  # 3
        logger.info("serving from %d shard(s) now", self._replica.shards)
