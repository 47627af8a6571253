"""Shards elsewhere, without a network: calls are under way in threads, get lost, and processes die."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from ps.directory import Directory, Leader
from ps.errors import NotLeadingError, ShardUnavailableError
from ps.messages import Pulled
from ps.shard import Shard

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np

    from ps.arrays import F32, U64
    from ps.block import Block
    from ps.handle import Pending
    from ps.messages import Push, PushReceipt
    from ps.shard import ShardSpec
    from ps.stream import Positions

T = TypeVar("T")
PATIENCE_S = 20.0


class Process:
    """The process that leads a shard. loss: the share of calls that get no answer; half took effect."""

    def __init__(
        self, shard: Shard, leader: Leader, rng: np.random.Generator, loss: float = 0.0
    ) -> None:
        self.shard = shard
        self.leader = leader
        self.loss = loss
        self.is_alive = self.is_leading = True
        self.lock = threading.Lock()
        self.pushes: list[Push] = []
        self.on_push: Callable[[], None] = lambda: None
        self._rng = rng

    def call(self, what: Callable[[Shard], T]) -> T:
        with self.lock:
            if not self.is_alive:
                raise self._gone("dead")
            if not self.is_leading:
                raise NotLeadingError(self.leader.address, "this", "nothing")
            fate = self._rng.random()
            if fate < self.loss / 2:
                raise self._gone("lost on the way there")
            result = what(self.shard)
            if fate < self.loss:
                raise self._gone("lost on the way back")
        return result

    def push(self, push: Push) -> PushReceipt:
        def apply(shard: Shard) -> PushReceipt:
            receipt = shard.push(push)
            self.pushes.append(push)
            return receipt

        try:
            return self.call(apply)
        finally:
            self.on_push()

    def saved(self) -> Block:
        with self.lock:
            self.shard.seal(0)
            return self.shard.export(0)

    def _gone(self, why: str) -> ShardUnavailableError:
        return ShardUnavailableError(f"shard at {self.leader.address}", why)


class _Stream:
    """Pushes fail together, until a new stream is begun."""

    broken: Exception | None = None


class Connection:
    """ShardHandle to one process."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.is_closed = False
        self._stream = _Stream()
        self._pushing = ThreadPoolExecutor(1, "push")
        self._pulling = ThreadPoolExecutor(1, "pull")

    def pull(self, fids: Mapping[str, U64]) -> dict[str, F32]:
        return dict(self.begin_pull(fids, dense=False).result().rows)

    def pull_dense(self) -> dict[str, F32]:
        return dict(self.begin_pull({}, dense=True).result().dense)

    def push(self, push: Push) -> PushReceipt:
        return self.begin_push(push).result()

    def begin_pull(self, fids: Mapping[str, U64], *, dense: bool) -> Pending[Pulled]:
        def pull(shard: Shard) -> Pulled:
            return Pulled(shard.pull(fids), shard.pull_dense() if dense else {})

        return self._begin(self._pulling, lambda: self.process.call(pull))

    def begin_push(self, push: Push) -> Pending[PushReceipt]:
        if self._stream.broken is not None:
            self._stream = _Stream()
        stream = self._stream

        def apply() -> PushReceipt:
            if stream.broken is not None:
                raise stream.broken
            try:
                return self.process.push(push)
            except Exception as error:
                stream.broken = error
                raise

        return self._begin(self._pushing, apply)

    def fence(self, owners: Mapping[str, int]) -> None:
        self.process.call(lambda shard: shard.fence(owners))

    def positions(self) -> Positions:
        return self.process.call(lambda shard: shard.positions())

    def close(self) -> None:
        self.is_closed = True
        self._pushing.shutdown(wait=False)
        self._pulling.shutdown(wait=False)

    def _begin(self, pool: ThreadPoolExecutor, call: Callable[[], T]) -> Pending[T]:
        if self.is_closed:
            raise ShardUnavailableError(self.process.leader.address, "closed")
        return pool.submit(call)


@dataclass
class Shards:
    """All shards of a model, and who leads them. term: of the directory's version."""

    specs: Sequence[ShardSpec]
    rng: np.random.Generator
    loss: float = 0.0
    processes: list[Process] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)
    generation: int = 0
    changes: int = 0

    def __post_init__(self) -> None:
        self.pushed = threading.Condition()
        self.applied = 0
        self._missing: set[int] = set()
        for spec in self.specs:
            self.processes.append(self._process(Shard(spec)))

    @property
    def directory(self) -> Directory:
        leaders = [
            None if number in self._missing else process.leader
            for number, process in enumerate(self.processes)
        ]
        return Directory((1, self.changes), tuple(leaders))

    def connect(self, leader: Leader, shards: int) -> Connection:
        assert shards == len(self.specs)
        for process in self._ever:
            if process.leader == leader:
                connection = Connection(process)
                self.connections.append(connection)
                return connection
        raise AssertionError(leader)

    def wait_for_pushes(self, number: int, timeout_s: float = PATIENCE_S) -> bool:
        """Until so many more have come, wherever they came to."""
        with self.pushed:
            target = self.applied + number
            return self.pushed.wait_for(lambda: self.applied >= target, timeout_s)

    def kill(self, number: int) -> None:
        """The process is gone; callers find out, and the directory says so."""
        process = self.processes[number]
        with process.lock:
            process.is_alive = False
        self._missing.add(number)
        self.changes += 1

    def replace(self, number: int, base: Block | None = None) -> None:
        """Another process leads the shard from here on: as the last one stood, or as of a base."""
        before = self.processes[number]
        with before.lock:
            before.is_alive = False
            if base is None:
                before.shard.seal(0)
                base = before.shard.export(0)
        shard = Shard(self.specs[number])
        shard.apply(base)
        shard.promote(base.generation + 1)
        self.processes[number] = self._process(shard)
        self._missing.discard(number)
        self.changes += 1

    def close(self) -> None:
        for connection in self.connections:
            connection.close()

    def _process(self, shard: Shard) -> Process:
        self.generation += 1
        leader = Leader(shard.spec.shard, f"host-{self.generation}:1", self.generation)
        process = Process(shard, leader, self.rng, self.loss)
        process.on_push = self._note_push
        self._ever = [*getattr(self, "_ever", []), process]
        return process

    def _note_push(self) -> None:
        with self.pushed:
            self.applied += 1
            self.pushed.notify_all()
