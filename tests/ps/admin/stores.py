"""A small store, as a job leaves it: two shards, a restore point for every epoch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ps.clock import SystemClock
from ps.shard import Shard
from ps.store.claim import take_claim
from ps.store.commit import ShardChain
from ps.store.description import describe
from ps.store.holder import Holder
from ps.store.opening import open_location
from ps.store.writer import Epoch, StoreWriter
from tests.ps.store.models import TABLES, push, specs

if TYPE_CHECKING:
    from pathlib import Path

    from ps.store.commit import Commit


class SmallJob:
    """Learns and commits; the store is its own until close()."""

    def __init__(
        self, url: str | Path, shards: int = 2, *, admin: str | None = None, elsewhere: bool = False
    ) -> None:
        self.location = open_location(str(url))
        holder = Holder.of_this_process("clicks", admin)
        if elsewhere:
            holder = replace(holder, host="elsewhere", boot="another", namespace="another")
        self.claim = take_claim(self.location, holder, clock=SystemClock(), lease_s=60.0)
        wanted = specs(shards)
        self.shards = [Shard(spec) for spec in wanted]
        for shard in self.shards:
            shard.promote(self.claim.generation)
        chains = [ShardChain(number, None, ()) for number in range(shards)]
        self.writer = StoreWriter(
            self.location, self.claim, describe(wanted), chains, clock=SystemClock()
        )
        self.step = 0

    def epoch(self, steps: int = 2) -> Commit:
        """Learn so many steps, seal, commit."""
        for _ in range(steps):
            push(self.shards, self.step)
            self.step += 1
        blocks = tuple(shard.seal(self.step) for shard in self.shards)
        rows = {
            table.name: sum(shard.table(table.name).stats().rows for shard in self.shards)
            for table in TABLES
        }
        return self.writer.commit(Epoch(blocks, b"worker", None, rows))

    def close(self) -> None:
        """Give the store up."""
        self.claim.release()


def make_store(url: str | Path, epochs: int = 4, shards: int = 2) -> list[Commit]:
    """A store of so many restore points, where nothing runs any more."""
    job = SmallJob(url, shards)
    commits = [job.epoch() for _ in range(epochs)]
    job.close()
    return commits
