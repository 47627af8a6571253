"""Leaders in this process that can be cut off, killed and replaced, with a store: what a feed reads."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from ps.block import Cursor
from ps.blocklog import BlockLog
from ps.clock import SystemClock
from ps.directory import Directory, Leader
from ps.errors import NotLeadingError, ShardUnavailableError
from ps.shard import Shard
from ps.store.catalog import Catalog
from ps.store.claim import take_claim
from ps.store.commit import ShardChain
from ps.store.compactor import compact
from ps.store.description import describe
from ps.store.holder import Holder
from ps.store.merge import merge_blocks
from ps.store.opening import open_location
from ps.store.reshard import reshard_bases
from ps.store.restore import restore_shards
from ps.store.writer import Epoch, StoreWriter
from tests.ps.store.models import push, specs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ps.block import Block
    from ps.shard_spec import ShardSpec
    from ps.store.commit import Commit

PLENTY = 1 << 28
_STEP_S = 0.02


class LeaderHere:
    """A shard that leads, and the blocks it hands out; unreachable where it is cut off."""

    def __init__(self, shard: Shard, shards: int, unsaved: list[Block], max_blocks: int) -> None:
        self.shard = shard
        self.shards = shards
        self.unsaved = unsaved
        self.log = BlockLog(max_blocks=max_blocks)
        self.reachable = True
        self.lock = threading.Lock()
        for block in unsaved:
            self.log.append(block)

    def seal(self, epoch: int) -> None:
        with self.lock:
            block = self.shard.seal(epoch, epoch)
        self.unsaved.append(block)
        self.log.append(block)


class Connection:
    """A BlockSource to a leader here."""

    def __init__(self, leader: LeaderHere | None, number: int, shards: int) -> None:
        self._leader = leader
        self._number = number
        self._shards = shards
        self._closed = False

    def read(self, after: Cursor, wait_s: float) -> list[Block]:
        waited_s = 0.0
        while True:
            leader = self._reach()
            log, at = leader.log, (self._number, after.epoch)
            found = log.read(*at, limit=3, generation=after.generation)
            if found or waited_s >= wait_s:
                return found
            log.wait_for(*at, timeout_s=_STEP_S, generation=after.generation)
            waited_s += _STEP_S

    def base(self) -> Block:
        leader = self._reach()
        with leader.lock:
            return leader.shard.export(0)

    def close(self) -> None:
        self._closed = True

    def _reach(self) -> LeaderHere:
        if self._closed or self._leader is None or not self._leader.reachable:
            raise ShardUnavailableError(f"shard {self._number}", "it is cut off")
        held = (self._leader.shard.spec.shard, self._leader.shards)
        if held != (self._number, self._shards):
            raise NotLeadingError(f"shard {self._number}", "read", f"holds {held}")
        return self._leader


class Leaders:
    """The shards of a job that learns, is saved, and whose leaders fail. One thread's own, but for
    connect().
    """

    def __init__(
        self,
        folder: Path,
        shards: int,
        *,
        max_blocks: int = 4,
        make_specs: Callable[[int], Sequence[ShardSpec]] = specs,
        learn: Callable[[Sequence[Shard], int], None] = push,
    ) -> None:
        """learn: pushes one step of the stream, by number, to all shards."""
        self._make_specs = make_specs
        self._learn = learn
        self.specs = make_specs(shards)
        self.location = open_location(str(folder))
        self._claim = take_claim(
            self.location, Holder.of_this_process("test"), clock=SystemClock(), lease_s=60.0
        )
        self._writer = StoreWriter(
            self.location,
            self._claim,
            describe(self.specs),
            [ShardChain(number, None, ()) for number in range(shards)],
            clock=SystemClock(),
        )
        self._max_blocks = max_blocks
        self.generation = 1
        self.epoch = 0
        self.step = 0
        self.leaders: list[LeaderHere | None] = [
            LeaderHere(Shard(spec), shards, [], max_blocks) for spec in self.specs
        ]
        for shard in self.shards:
            shard.promote(1)
        self._lost: dict[int, LeaderHere] = {}
        self._by_address: dict[str, LeaderHere] = {}
        self._version = 0
        self.directory = self.tell()

    def close(self) -> None:
        self._claim.release()

    @property
    def is_whole(self) -> bool:
        return all(leader is not None for leader in self.leaders)

    @property
    def shards(self) -> list[Shard]:
        return [leader.shard for leader in self.leaders if leader is not None]

    def cursors(self) -> list[Cursor]:
        return [shard.cursor for shard in self.shards]

    def tell(self) -> Directory:
        """A new version of the directory."""
        self._version += 1
        told: list[Leader | None] = []
        for number, leader in enumerate(self.leaders):
            if leader is None:
                told.append(None)
                continue
            address = f"here:{number}:{id(leader)}"
            self._by_address[address] = leader
            told.append(Leader(number, address, leader.shard.cursor.generation))
        self.directory = Directory((1, self._version), tuple(told))
        return self.directory

    def connect(self, leader: Leader, shards: int) -> Connection:
        return Connection(self._by_address.get(leader.address), leader.shard, shards)

    def learn(self, steps: int) -> None:
        """As a worker does after a failure: from the oldest position of any shard."""
        assert self.is_whole
        begin = min(shard.positions().get("p", 0) for shard in self.shards)
        self.step += steps
        for leader in self.leaders:
            assert leader is not None
            leader.lock.acquire()
        for step in range(begin, self.step):
            self._learn(self.shards, step)
        for leader in self.leaders:
            assert leader is not None
            leader.lock.release()

    def seal(self) -> None:
        self.epoch += 1
        for leader in self.leaders:
            if leader is not None:
                leader.seal(self.epoch)

    def save(self) -> Commit:
        """One restore point, one merged block a shard."""
        self.seal()
        blocks = []
        for leader in self.leaders:
            assert leader is not None
            blocks.append(merge_blocks(leader.unsaved))
            leader.unsaved.clear()
        return self._writer.commit(Epoch(tuple(blocks)))

    def compact(self) -> None:
        """New bases, which later restore points go on from."""
        for chain in self._writer.chains:
            if chain.blocks:
                compact(self.location, chain, memory_bytes=PLENTY)
        self._writer.adopt_bases({chain.shard: chain.cursor for chain in self._writer.chains})

    def kill(self, number: int) -> None:
        leader = self.leaders[number]
        if leader is not None:
            leader.reachable = False
            self._lost[number] = leader
            self.leaders[number] = None

    def replace(self, number: int, blocks: int) -> None:
        """From the newest restore point, and so many of the blocks sealed since: as a standby that
        had come so far.
        """
        lost = self._lost.pop(number)
        commit = Catalog(self.location).newest_whole()
        if commit is None:
            shard = Shard(self.specs[number])
        else:
            [shard] = restore_shards(
                self.location, commit, [self.specs[number]], shards=len(self.specs)
            )
        kept = lost.unsaved[:blocks]
        for block in kept:
            shard.apply(block)
        self.generation += 1
        self.epoch += 1
        shard.promote(self.generation, epoch=self.epoch)
        self.leaders[number] = LeaderHere(shard, len(self.specs), kept, self._max_blocks)
        self.seal()

    def reshard(self, shards: int) -> None:
        """Other leaders, at the same positions; those there were go on handing out what they have."""
        commit = self.save()
        self.generation += 2
        self.epoch += 1
        at = Cursor(self.epoch, self.generation - 1)
        chains, _ = reshard_bases(self.location, commit, shards, at, memory_bytes=PLENTY)
        self.specs = self._make_specs(shards)
        fresh = restore_shards(self.location, replace(commit, shards=chains), self.specs)
        for shard in fresh:
            shard.promote(self.generation, epoch=self.epoch)
        self.leaders = [LeaderHere(shard, shards, [], self._max_blocks) for shard in fresh]
        self._writer.replace_chains(chains)
        self.seal()
