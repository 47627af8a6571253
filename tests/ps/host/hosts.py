"""Hosts of one shard in one process, which reach each other by made-up addresses; and their store."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from ps.block import Cursor
from ps.clock import ManualClock
from ps.codec import decode_block, encode_block
from ps.errors import ShardUnavailableError
from ps.host.host import ShardHost
from ps.store.commit import Commit, ShardChain
from ps.store.commit_codec import encode_commit
from ps.store.description import describe
from ps.store.names import commit_name
from ps.store.opening import open_location
from tests.ps.shards import SPEC, make_push

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ps.block import Block
    from ps.host.held import HostLimits
    from ps.host.port import SavedBlock
    from ps.shard import Shard, ShardSpec
    from ps.store.location import Location

DEADLINE_S = 5.0


class Wire:
    """A BlockSource to another host of the test; blocks cross it as bytes."""

    def __init__(self, world: World, address: str, shard: int, shards: int) -> None:
        self._world = world
        self._address = address
        self._of = (shard, shards)
        self._closed = threading.Event()

    def read(self, after: Cursor, wait_s: float) -> list[Block]:
        host = self._host()
        host.check(*self._of, "read")
        return [decode_block(encode_block(block)) for block in host.read(after, min(wait_s, 0.1))]

    def base(self) -> Block:
        host = self._host()
        host.check(*self._of, "base")
        return decode_block(encode_block(host.base()))

    def close(self) -> None:
        self._closed.set()

    def _host(self) -> ShardHost:
        if self._closed.is_set() or self._address not in self._world.hosts:
            raise ShardUnavailableError(self._address, "it is gone")
        return self._world.hosts[self._address]


class World:
    """A store, hosts by address, and what a coordinator does with them: draws, seals, commits."""

    def __init__(self, folder: Path, spec: ShardSpec = SPEC) -> None:
        self.spec = spec
        self.clock = ManualClock(1_000_000)
        self.location: Location = open_location(str(folder))
        self.hosts: dict[str, ShardHost] = {}
        self.generation = 0
        self.epoch = 0
        self.sealed = Cursor(0, 0)  # the newest that has not been lost
        self.commits: list[Commit] = []

    def host(self, address: str, limits: HostLimits | None = None) -> ShardHost:
        """Start one (again)."""
        host = ShardHost(
            address,
            open_store=lambda: self.location,
            connect=lambda at, shard, shards: Wire(self, at, shard, shards),
            clock=self.clock,
            limits=limits,
        )
        host.address = address
        self.hosts[address] = host
        return host

    def kill(self, host: ShardHost) -> None:
        """Nobody reaches it any more, and it does nothing any more."""
        del self.hosts[host.address]
        host.close()

    def close(self) -> None:
        for host in self.hosts.values():
            host.close()

    @property
    def newest(self) -> Commit | None:
        return self.commits[-1] if self.commits else None

    @property
    def stands(self) -> Cursor:
        """Where the store is."""
        return self.newest.shards[0].cursor if self.newest else Cursor(0, 0)

    def lead(self, host: ShardHost) -> None:
        self.generation += 1
        host.lead(1, self.generation, epoch=self.epoch)

    def started(self, address: str, limits: HostLimits | None = None) -> ShardHost:
        """A host that leads, from the newest restore point."""
        host = self.host(address, limits)
        host.restore(1, self.spec, 1, self.newest)
        self.sealed = self.stands
        self.lead(host)
        return host

    def standby(
        self, address: str, leader: ShardHost, limits: HostLimits | None = None
    ) -> ShardHost:
        host = self.host(address, limits)
        self.follow(host, leader)
        return host

    def follow(self, standby: ShardHost, leader: ShardHost) -> None:
        standby.follow(1, self.spec, 1, self.newest, leader.address)

    def seal(self, host: ShardHost, jump: int = 1) -> Cursor:
        self.epoch += jump
        self.sealed = host.seal(1, self.epoch, self.clock.now_us())
        return self.sealed

    def save(self, host: ShardHost) -> SavedBlock:
        """Save, and commit what was saved."""
        saved = host.save(1, self.stands)
        if not saved.quiet:
            self.commit(saved)
        return saved

    def commit(self, saved: SavedBlock) -> Commit:
        before = self.newest.shards[0] if self.newest else ShardChain(0, None, ())
        assert saved.head.follows == before.cursor
        chain = replace(
            before,
            blocks=(*before.blocks, saved.head.cursor),
            positions=dict(saved.head.positions),
        )
        commit = Commit(
            at=Cursor(saved.head.epoch, self.generation),
            model=self.spec.model,
            description=describe([self.spec]),
            shards=(chain,),
            positions=dict(saved.head.positions),
            event_ts_us=saved.head.event_ts_us,
            created_us=self.clock.now_us(),
            bytes_written=saved.n_bytes,
            rows=dict(saved.rows),
        )
        self.location.write(commit_name(commit.at), [encode_commit(commit)])
        self.commits.append(commit)
        return commit

    def restored(self, commit: Commit | None = None) -> Shard:
        """What the store has."""
        from ps.host.stored import restored_shard

        return restored_shard(self.location, commit or self.newest, self.spec, 1)


def push(host: ShardHost, seed: int, step: int, *, generation: int = 0) -> bool:
    return host.push(make_push(seed, step, step + 1, generation=generation)).applied


def until(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    """Wait for something another thread does."""
    waiting = threading.Event()
    for _ in range(int(DEADLINE_S / 0.01)):
        if condition():
            return
        waiting.wait(0.01)
    raise AssertionError(f"not within {DEADLINE_S:g} s: {what()}")


def caught_up(standby: ShardHost, at: Cursor) -> None:
    until(lambda: standby.hello().cursor == at, lambda: f"standby at {at}, it is {standby.hello()}")


def joined(standby: ShardHost, world: World, leader: ShardHost) -> None:
    """Seal, as a coordinator does time and again, until a standby has come to the leader's side."""
    waiting = threading.Event()
    for _ in range(50):
        at = world.seal(leader)
        for _ in range(10):
            if standby.hello().cursor == at:
                return
            waiting.wait(0.01)
    raise AssertionError(f"not within 50 epochs: {standby.hello()}")
