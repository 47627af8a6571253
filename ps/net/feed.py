"""The blocks of all shards, from whoever leads them now: what a replica elsewhere follows."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ps.block import Cursor
from ps.errors import BlockError, NotLeadingError, ShardUnavailableError, SpecError
from ps.net.feed_source import FallbackSource, SourceCounts
from ps.net.feed_watch import WAIT_S, Watch
from ps.net.remote import RemoteShard
from ps.store.merge import merge_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ps.block import Block
    from ps.clock import Clock
    from ps.directory import Directory, Leader
    from ps.net.feed_source import BlockSource
    from ps.net.feed_store import StoredBlocks

    # The leader of one of so many shards, reached.
    Connect = Callable[[Leader, int], BlockSource]

# Beyond the time that a leader keeps a question for news: what is over the network is late by then.
_DEADLINE_S = 5.0


def by_network(token: str, clock: Clock, *, deadline_s: float = _DEADLINE_S) -> Connect:
    """Reaches leaders at their data services. token: of the job."""

    def connect(leader: Leader, shards: int) -> BlockSource:
        return RemoteShard(
            leader.address,
            leader.shard,
            shards,
            token=token,
            clock=clock,
            deadline_s=deadline_s,
        )

    return connect


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """A feed at a glance. counts: of what it gave. faults: by shard, why nothing comes just now."""

    counts: SourceCounts
    faults: Mapping[int, str]


@dataclass
class _Followed:
    """One shard. after: where its reader stood last. missed: what came during a pause is still out."""

    leader: Leader | None
    source: FallbackSource
    watch: Watch
    after: Cursor | None = None
    missed: bool = False


class LeaderFeed:
    """A serving.follower.BlockFeed over the leaders of a directory, which may change at any time.

    One thread a shard waits for its next block. After a pause all that was missed of a shard comes as
    one block, and from its leader: so a state that an operator paused to keep from users, and rolled
    back since, is never served. directory: the first; its number of shards stays. connect: reaches a
    leader. store: what helps where leaders do not; None: nothing.
    """

    def __init__(
        self,
        directory: Directory,
        connect: Connect,
        *,
        store: StoredBlocks | None = None,
        paused: bool = False,
        wait_s: float = WAIT_S,
    ) -> None:
        self._connect = connect
        self._store = store
        self._wait_s = wait_s
        self._changing = threading.RLock()
        self._counts = SourceCounts()
        self._on_news: Callable[[], None] = _nobody
        self._paused = paused
        self._closed = False
        self._directory = directory
        self._shards = [
            self._follow(shard, leader, None) for shard, leader in enumerate(directory.leaders)
        ]

    @property
    def directory(self) -> Directory:
        """The one it goes by."""
        return self._directory

    def when_news(self, callback: Callable[[], None]) -> None:
        """Have this called at every new block, in a thread of the feed's: Follower.wake, say."""
        self._on_news = callback

    def turn_to(self, directory: Directory) -> None:
        """Go by another directory from now on, if it is newer.

        Raises SpecError where it has another number of shards: that takes a feed of its own.
        """
        with self._changing:
            if self._closed or directory.version <= self._directory.version:
                return
            if directory.shards != self._directory.shards:
                raise SpecError(
                    f"a feed of {self._directory.shards} shard(s) cannot turn to "
                    f"{directory.shards}; make another one"
                )
            self._directory = directory
            for shard, leader in enumerate(directory.leaders):
                old = self._shards[shard]
                if leader != old.leader:
                    self._shards[shard] = self._follow(shard, leader, old)
                    _end(old)
        self._on_news()

    def pause(self) -> None:
        """Give nothing from now on."""
        with self._changing:
            self._paused = True
            for followed in self._shards:
                followed.watch.rest()

    def resume(self) -> None:
        """Go on, with what was missed of each shard as one block. Without a pause: no effect."""
        with self._changing:
            if not self._paused:
                return
            self._paused = False
            for followed in self._shards:
                followed.missed = True
        self._on_news()

    def read(self, shard: int, after_epoch: int, *, generation: int) -> list[Block]:
        """See serving.follower.BlockFeed. Never waits, but for what was missed during a pause."""
        after = Cursor(after_epoch, generation)
        with self._changing:
            followed = self._shards[shard]
            followed.after = after
            if self._paused or self._closed:
                return []
        if followed.missed:
            return self._missed(followed, after)
        return followed.watch.take(after)

    def base(self, shard: int) -> Block:
        """See serving.follower.BlockFeed. Raises BlockError while publishing is paused,
        ShardUnavailableError where neither the store nor the leader can help, StoreError.
        """
        followed = self._shards[shard]
        if not self._paused:
            if followed.missed:
                block = followed.source.base_of_leader()
            else:
                block = followed.source.base(beyond=followed.after)
            # Looked at again: it takes its time.
            if not self._paused:
                followed.missed = False
                return block
        raise BlockError(
            f"shard {shard}: publishing is paused, so there is nothing to start from; resume it"
        )

    def status(self) -> FeedStatus:
        """What it gave, and what is wrong."""
        faults = {}
        for shard, followed in enumerate(self._shards):
            if followed.leader is None:
                faults[shard] = f"shard {shard} has no leader for now"
            elif followed.watch.fault is not None:
                faults[shard] = followed.watch.fault
        return FeedStatus(self._counts, faults)

    def close(self, timeout_s: float = 5.0) -> None:
        """End all threads and connections; a call under way in another thread fails."""
        with self._changing:
            self._closed = True
            for followed in self._shards:
                _end(followed)
        for followed in self._shards:
            followed.watch.join(timeout_s)

    def _follow(self, shard: int, leader: Leader | None, before: _Followed | None) -> _Followed:
        shards = self._directory.shards
        reached = None if leader is None else self._connect(leader, shards)
        source = FallbackSource(shard, shards, reached, self._store, self._counts)
        watch = Watch(shard, source, self._tell, wait_s=self._wait_s)
        followed = _Followed(leader, source, watch)
        if before is not None:
            followed.after, followed.missed = before.after, before.missed
        watch.start(None if self._paused or followed.missed else followed.after)
        return followed

    def _tell(self) -> None:
        self._on_news()

    def _missed(self, followed: _Followed, after: Cursor) -> list[Block]:
        """All that came since a cursor as one block, as soon as there is a leader to give it."""
        leader = followed.source.leader
        if leader is None:
            return []
        merged: list[Block] = []
        try:
            while blocks := leader.read(merged[-1].cursor if merged else after, 0.0):
                merged = [merge_blocks([*merged, *blocks])]
        except (ShardUnavailableError, NotLeadingError):
            return []  # it stays missed, and the follower looks again
        with self._changing:
            if self._paused or self._closed:
                return []
            followed.missed = False
        self._counts.blocks_from_leader += len(merged)
        return merged


def _end(followed: _Followed) -> None:
    followed.watch.stop()
    followed.source.close()


def _nobody() -> None:
    """Nobody wants to be told."""
