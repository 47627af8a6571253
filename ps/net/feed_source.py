"""Where one shard's blocks come from: its leader, and the store where the leader cannot help."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ps.errors import BlockGapError, ForeignBlockError, PsError, ShardUnavailableError

if TYPE_CHECKING:
    from ps.block import Block, Cursor
    from ps.net.feed_store import StoredBlocks


class BlockSource(Protocol):
    """One shard as its readers see it: ps.net.remote.RemoteShard, say. Safe from several threads."""

    def read(self, after: Cursor, wait_s: float) -> list[Block]:
        """Blocks after a cursor, in order; waits for the first so long. None where none came.

        Raises BlockGapError, ForeignBlockError: start again from base(); ShardUnavailableError,
        NotLeadingError.
        """
        ...

    def base(self) -> Block:
        """The whole shard at its newest epoch. Raises ShardUnavailableError, NotLeadingError."""
        ...

    def close(self) -> None:
        """Give up the connection; calls under way fail."""
        ...


@dataclass
class SourceCounts:
    """What was read so far, from where. Shared by the sources that follow each other."""

    blocks_from_leader: int = 0
    blocks_from_store: int = 0
    bases_from_leader: int = 0
    bases_from_store: int = 0


class FallbackSource:
    """A BlockSource over a leader (None: there is none now) and a store (None: there is none).

    Blocks come from the leader; from the store where the leader does not answer, or no longer has
    what follows. Bases come from the store, which spares the leader; from the leader where the store
    has none that helps. It closes the leader's source when it is closed.
    """

    def __init__(
        self,
        shard: int,
        shards: int,
        leader: BlockSource | None,
        store: StoredBlocks | None,
        counts: SourceCounts | None = None,
    ) -> None:
        self.counts = SourceCounts() if counts is None else counts
        self.leader = leader
        self._shard = shard
        self._shards = shards
        self._store = store
        self._lost: Cursor | None = None
        self._closed = threading.Event()

    def read(self, after: Cursor, wait_s: float) -> list[Block]:
        """See BlockSource. Without a leader it waits and finds nothing, unless the store leads on."""
        error: PsError | None = None
        if self.leader is not None:
            try:
                blocks = self.leader.read(after, wait_s)
            except PsError as failure:
                error = failure
            else:
                self.counts.blocks_from_leader += len(blocks)
                return blocks
        stored = self._stored(after)
        if stored:
            self.counts.blocks_from_store += len(stored)
            return stored
        if error is None:
            self._closed.wait(wait_s)
            return []
        if isinstance(error, BlockGapError | ForeignBlockError):
            self._lost = after
        raise error

    def base(self, *, beyond: Cursor | None = None) -> Block:
        """See BlockSource. beyond: where its reader stands, so that nothing older will do; None: where
        read() has last found no way on.
        """
        if self._store is not None and not self._closed.is_set():
            try:
                stored = self._store.base(self._shard, self._shards, beyond=beyond or self._lost)
            except PsError:
                if self.leader is None:
                    raise
                stored = None
            if stored is not None:
                self.counts.bases_from_store += 1
                return stored
        return self.base_of_leader()

    def base_of_leader(self) -> Block:
        """A base that the store has no part in. Raises ShardUnavailableError."""
        if self.leader is None:
            raise ShardUnavailableError(
                f"the leader of shard {self._shard}", "none is known, and the store does not help"
            )
        block = self.leader.base()
        self.counts.bases_from_leader += 1
        return block

    def close(self) -> None:
        """Wake who waits, and give up the connection to the leader."""
        self._closed.set()
        if self.leader is not None:
            self.leader.close()

    def _stored(self, after: Cursor) -> list[Block]:
        if self._store is None or self._closed.is_set():
            return []
        try:
            return self._store.read(self._shard, self._shards, after)
        except PsError:
            if self.leader is None:
                raise
            return []  # what the leader said tells more
