"""Publishing: sealed blocks to everybody in this process who follows them."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from cluster.local.feed import PausableFeed
from cluster.local.serving import ServingReplica
from cluster.local.standby import Standbys
from ps.blocklog import BlockLog
from ps.errors import BlockError
from serving.from_specs import owner_of, stores_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cluster.local.learning import Learning
    from cluster.plan import Plan
    from ps.block import Block
    from ps.clock import Clock


class Publishing:
    """The log of blocks, the replicas and the standbys that follow it.

    Readers never hold up the training thread, but for one that starts over: it reads a base under
    the lock that learning holds.
    """

    def __init__(self, plan: Plan, learning: Learning, clock: Clock, *, replicas: int) -> None:
        self.paused = False
        self._still = False
        self._pausing = threading.RLock()
        self.log = BlockLog(base=self._base)
        self._learning = learning
        self._clock = clock
        self._feeds = [PausableFeed(self.log) for _ in range(replicas)]
        self.serving = [
            ServingReplica(plan, learning.specs, number, feed, clock)
            for number, feed in enumerate(self._feeds)
        ]
        self.standbys = Standbys(learning.specs, self.log) if plan.train.standbys else None
        self._resources = ExitStack()

    @property
    def addresses(self) -> tuple[str, ...]:
        """host:port of every server that was started."""
        return tuple(serving.server.target for serving in self.serving)

    def start_servers(self) -> None:
        """Let replicas follow and servers listen. Raises serving.errors.ServerStartError."""
        for serving in self.serving:
            self._resources.callback(serving.stop)
            serving.start()

    def start_standbys(self) -> None:
        """Let standbys follow, where there are any."""
        if self.standbys is not None and not self.standbys.running:
            self._resources.callback(self.standbys.stop)
            self.standbys.start()

    def publish(self, blocks: Sequence[Block]) -> None:
        """Hand on the blocks of an epoch; returns at once."""
        if not self.serving and self.standbys is None:
            return
        for block in blocks:
            self.log.append(block)
        for serving in self.serving:
            serving.follower.wake()
        if self.standbys is not None:
            self.standbys.wake()

    def pause(self) -> None:
        """Keep from the replicas what is published from now on."""
        with self._pausing:
            self.paused = True
            for feed in self._feeds:
                feed.pause()

    def resume(self) -> None:
        """Let the replicas catch up, unless shards are being replaced just now: then after that."""
        with self._pausing:
            self.paused = False
            if self._still:
                return
            for feed in self._feeds:
                feed.resume(len(self._learning.shards))
        for serving in self.serving:
            serving.follower.wake()

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Keep everything from the replicas while shards of another number take over."""
        with self._pausing:
            self._still = True
            for feed in self._feeds:
                feed.pause()
        try:
            yield
        finally:
            with self._pausing:
                self._still = False
                if not self.paused:
                    self.resume()

    def forget(self) -> None:
        """Forget the blocks of the shards there were; standbys are of those there are now."""
        self.log.forget()
        if self.standbys is not None:
            self.standbys.reset(self._learning.specs)

    def start_over(self) -> None:
        """Have every replica go on from the shards as they are now, whatever their number.

        It goes on serving what it has until the new set stands beside it. Between two batches.
        """
        if not self.serving:
            return
        shards = len(self._learning.shards)
        bases = [self._base(number) for number in range(shards)]
        stores = stores_of(self._learning.specs)
        for serving in self.serving:
            serving.replica.reshard(bases, owner_of(shards), tables=stores)

    def close(self) -> None:
        """Stop servers, replicas and standbys, within their grace; may be called again."""
        self.log.close()
        self._resources.close()

    def _base(self, shard: int) -> Block:
        with self._learning.lock:
            if shard >= len(self._learning.shards):
                raise BlockError(f"there is no shard {shard} any more")
            return self._learning.shards[shard].export(self._clock.now_us())
