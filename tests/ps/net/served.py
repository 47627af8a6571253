"""A shard behind its data service, in this process."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ps.blocklog import BlockLog
from ps.clock import SystemClock
from ps.errors import NotLeadingError
from ps.messages import Pulled
from ps.net.data import LEADERS_CALLS
from ps.net.remote import RemoteShard
from ps.net.server import ShardServer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.arrays import U64
    from ps.block import Block, Cursor
    from ps.messages import Push, PushReceipt
    from ps.net.data import Call
    from ps.shard import Shard
    from ps.stream import Positions

TOKEN = "a word of this job's own"  # noqa: S105
# No test waits as long; a machine that is busy may need some of it.
DEADLINE_S = 30.0


class HeldShard:
    """ShardData of one shard: calls one at a time, blocks from a log. gate: pushes wait for it."""

    def __init__(self, shard: Shard, shards: int = 1) -> None:
        self.shard = shard
        self.log = BlockLog()
        self.leading = True
        self.gate = threading.Event()
        self.gate.set()
        self.pushed: list[Push] = []
        self.asked: list[Call] = []
        self._shards = shards
        self._lock = threading.Lock()

    def check(self, shard: int, shards: int, asked: Call, generation: int | None = None) -> None:
        del generation
        self.asked.append(asked)
        leads = self.leading or asked not in LEADERS_CALLS
        if (shard, shards) != (self.shard.spec.shard, self._shards) or not leads:
            raise NotLeadingError("here", asked, f"holds shard {self.shard.spec.shard}")

    def pull(self, fids: Mapping[str, U64], *, dense: bool) -> Pulled:
        with self._lock:
            return Pulled(self.shard.pull(fids), self.shard.pull_dense() if dense else {})

    def push(self, push: Push) -> PushReceipt:
        assert self.gate.wait(DEADLINE_S)
        with self._lock:
            self.pushed.append(push)
            return self.shard.push(push)

    def fence(self, owners: Mapping[str, int]) -> None:
        with self._lock:
            self.shard.fence(owners)

    def positions(self) -> Positions:
        with self._lock:
            return self.shard.positions()

    def read(self, after: Cursor, wait_s: float) -> list[Block]:
        self.log.wait_for(self.shard.spec.shard, after.epoch, wait_s, after.generation)
        return self.log.read(self.shard.spec.shard, after.epoch, generation=after.generation)

    def base(self) -> Block:
        with self._lock:
            return self.shard.export(0)

    def seal(self, sealed_us: int = 0) -> Block:
        with self._lock:
            block = self.shard.seal(sealed_us)
        self.log.append(block)
        return block


def serve(data: HeldShard) -> ShardServer:
    """Its service, which listens once entered."""
    return ShardServer(data, token=TOKEN)


def remote(
    server: ShardServer,
    shard: int = 0,
    shards: int = 1,
    *,
    token: str = TOKEN,
    deadline_s: float = DEADLINE_S,
) -> RemoteShard:
    """A handle on it."""
    return RemoteShard(
        server.address, shard, shards, token=token, clock=SystemClock(), deadline_s=deadline_s
    )
