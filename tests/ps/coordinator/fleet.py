"""A fleet in one process: seats with real hosts that can be killed at any moment, and workers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, cast

from ps.client import RoutingClient
from ps.codec import decode_block, encode_block
from ps.coordinator.orders import WorkerReport
from ps.errors import (
    JobBusyError,
    NotLeadingError,
    PositionGapError,
    PsError,
    ShardUnavailableError,
    StaleGenerationError,
)
from ps.handle import Done
from ps.host.host import ShardHost
from ps.store.opening import open_location
from tests.ps.coordinator import stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ps.arrays import F32, U64
    from ps.block import Block, Cursor
    from ps.clock import Clock
    from ps.coordinator.coordinator import Coordinator
    from ps.coordinator.fleet import ShardSeat
    from ps.coordinator.orders import Assignment, WorkerOrders
    from ps.directory import Directory
    from ps.handle import Pending
    from ps.host.port import ShardPort
    from ps.messages import Pulled, Push, PushReceipt
    from ps.stream import Positions

DEADLINE_S = 30.0
_ACCEPTABLE = (ShardUnavailableError, NotLeadingError, JobBusyError)


class Seat:
    """A place for a host. hook: called with the name of every command before it is carried out."""

    def __init__(self, fleet: LocalFleet, name: str) -> None:
        self.name = name
        self.fleet = fleet
        self.host: ShardHost | None = None
        self.hook: Callable[[str], None] | None = None
        self._starts = 0

    @property
    def process(self) -> str | None:
        host = self.host
        return None if host is None else host.hello().process

    @property
    def port(self) -> ShardPort:
        return cast("ShardPort", _Port(self))

    def start(self) -> None:
        self._starts += 1
        host = ShardHost(
            self.name,
            open_store=lambda: self.fleet.location,
            connect=lambda at, shard, shards: Wire(self.fleet, at, shard, shards),
            clock=self.fleet.clock,
            node=f"node of {self.name}",
        )
        host.address = f"{self.name}#{self._starts}"
        self.fleet.hosts[host.address] = host
        self.host = host
        self.fleet.changed()

    def kill(self) -> None:
        host, self.host = self.host, None
        if host is not None:
            self.fleet.hosts.pop(host.address, None)
            host.close()
            self.fleet.changed()


class _Port:
    """Whatever process sits there; a call during which it dies has taken effect, or has not."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat

    def __getattr__(self, command: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            host = self._seat.host
            if host is None:
                raise ShardUnavailableError(self._seat.name, "it is down")
            if self._seat.hook is not None:
                self._seat.hook(command)
            try:
                result = getattr(host, command)(*args, **kwargs)
            finally:
                if self._seat.host is not host:
                    raise ShardUnavailableError(self._seat.name, f"it died during {command}")
            return result

        return call


class Wire:
    """A BlockSource and a ShardHandle to a host of the fleet; blocks cross it as bytes."""

    def __init__(self, fleet: LocalFleet, address: str, shard: int, shards: int) -> None:
        self._fleet = fleet
        self._address = address
        self._of = (shard, shards)
        self._closed = threading.Event()

    def read(self, after: Cursor, wait_s: float) -> list[Block]:
        host = self._host("read")
        blocks = host.read(after, min(wait_s, 0.05))
        self._host("read")
        return [decode_block(encode_block(block)) for block in blocks]

    def base(self) -> Block:
        return decode_block(encode_block(self._host("base").base()))

    def pull(self, fids: Mapping[str, U64]) -> dict[str, F32]:
        return dict(self._host("pull").pull(fids, dense=False).rows)

    def pull_dense(self) -> dict[str, F32]:
        return dict(self._host("pull").pull({}, dense=True).dense)

    def push(self, push: Push) -> PushReceipt:
        receipt = self._host("push").push(push)
        self._host("push")  # of one that is gone nobody gets an answer
        return receipt

    def begin_pull(self, fids: Mapping[str, U64], *, dense: bool) -> Pending[Pulled]:
        return Done(self._host("pull").pull(fids, dense=dense))

    def begin_push(self, push: Push) -> Pending[PushReceipt]:
        return Done(self.push(push))

    def fence(self, owners: Mapping[str, int]) -> None:
        self._host("fence").fence(owners)

    def positions(self) -> Positions:
        return self._host("positions").positions()

    def close(self) -> None:
        self._closed.set()

    def _host(self, asked: Any) -> ShardHost:
        host = self._fleet.hosts.get(self._address)
        if self._closed.is_set() or host is None:
            raise ShardUnavailableError(self._address, "it is gone")
        host.check(*self._of, asked)
        return host


class LocalFleet:
    """Seats, workers, and the store they share. See ps.coordinator.fleet.Fleet."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        *,
        shards: int,
        standbys: int = 0,
        partitions: Mapping[str, int] | None = None,
        workers: int = 0,
    ) -> None:
        self.url = str(folder)
        self.location = open_location(self.url)
        self.clock = clock
        self.hosts: dict[str, ShardHost] = {}
        self.coordinator: Coordinator | None = None
        self.partitions = dict(partitions or {})
        self._per_shard = 1 + standbys
        self._seats: dict[int, list[Seat]] = {}
        self._changed = threading.Condition()
        self._version = 0
        self.resize(shards, 0.0)
        self.pool = [Worker(self, number) for number in range(workers)]

    # As the coordinator sees it.

    def seats(self, shard: int) -> list[ShardSeat]:
        return list(cast("list[ShardSeat]", self._seats.get(shard, [])))

    def seat(self, shard: int, number: int = 0) -> Seat:
        return self._seats[shard][number]

    def resize(self, shards: int, deadline_s: float) -> None:
        assert deadline_s >= 0
        for shard in range(shards):
            if shard not in self._seats:
                seats = [Seat(self, f"shard-{shard}.{n}") for n in range(self._per_shard)]
                self._seats[shard] = seats
                for seat in seats:
                    seat.start()

    def retire(self, shards: int) -> None:
        for shard in [shard for shard in self._seats if shard >= shards]:
            for seat in self._seats.pop(shard):
                seat.kill()

    def worker_process(self, worker: int) -> str | None:
        return self.pool[worker].process

    @property
    def workers(self) -> int:
        return len(self.pool)

    @property
    def replicas(self) -> int:
        return 0

    def wait_for_change(self, timeout_s: float) -> bool:
        with self._changed:
            before = self._version
            return self._changed.wait_for(lambda: self._version != before, min(timeout_s, 0.05))

    def changed(self) -> None:
        with self._changed:
            self._version += 1
            self._changed.notify_all()

    # As the test does.

    def all_seats(self) -> list[Seat]:
        return [seat for seats in self._seats.values() for seat in seats]

    def leading(self, shard: int) -> Seat:
        assert self.coordinator is not None
        led = self.coordinator.job.leaders.of(shard)
        assert led is not None
        return cast("Seat", led.seat)

    def close(self) -> None:
        for worker in self.pool:
            worker.kill()
        for seat in self.all_seats():
            seat.kill()


class Worker:
    """A worker as ps.coordinator.orders describes it, with one push at a time."""

    def __init__(self, fleet: LocalFleet, number: int) -> None:
        self.number = number
        self.process: str | None = None
        self.batch = 7
        self.limit: int | None = None  # per partition; None: to its end
        self.examples = 0
        self.pushes = threading.Semaphore(0)
        self._fleet = fleet
        self._starts = 0
        self._ended = threading.Event()
        self.fingerprint: str | None = None
        self.error: str | None = None

    def start(self) -> None:
        self._starts += 1
        self._ended = threading.Event()
        self.process = f"worker-{self.number}-{self._starts}"
        threading.Thread(
            target=_Run(self._fleet, self, self.process, self._ended).run, daemon=True
        ).start()
        self._fleet.changed()

    def hang(self) -> None:
        """It is up, and does nothing any more."""
        self._ended.set()

    def kill(self) -> None:
        self._ended.set()
        self.process = None
        self._fleet.changed()


class _Run:
    """One life of a worker."""

    def __init__(
        self, fleet: LocalFleet, worker: Worker, process: str, ended: threading.Event
    ) -> None:
        self.fleet = fleet
        self.worker = worker
        self.process = process
        self.ended = ended
        self.assignment: Assignment | None = None
        self.begun: tuple[int, tuple[int, int]] | None = None
        self.client: RoutingClient | None = None
        self.at: dict[str, int] = {}
        self.cuts: dict[str, tuple[int, ...]] = {}
        self.counted: dict[str, int] = {}
        self.examples = 0
        self.suspects: tuple[int, ...] = ()

    def run(self) -> None:
        phase, held = "waiting", None
        while not self.ended.is_set():
            orders = self._report(phase, held)
            if orders is None or orders.stop:
                phase = "waiting"
                self.ended.wait(0.005)
                continue
            held = orders.hold
            if held is not None:
                phase = "held"
                self.ended.wait(0.002)
                continue
            try:
                phase = self._learn(orders)
            except _ACCEPTABLE:
                self.begun = None
                self.suspects = self._silent(orders.directory)
                phase = "waiting"
            except (StaleGenerationError, PositionGapError):
                self.begun = None
                phase = "waiting"
            if phase != "learning":
                self.ended.wait(0.005)

    def _report(self, phase: Any, held: int | None) -> WorkerOrders | None:
        coordinator = self.fleet.coordinator
        if coordinator is None:
            return None
        own = self.worker.fingerprint or coordinator.plan.fingerprint
        generation = None if self.assignment is None else self.assignment.generation
        state = None if self.assignment is None else stream.state_of(self.examples, self.counted)
        report = WorkerReport(
            self.worker.number,
            self.process,
            f"node of worker {self.worker.number}",
            own,
            phase if self.worker.error is None else "failed",
            generation=generation,
            state=state,
            counted=dict(self.counted),
            examples=self.examples,
            held=held,
            suspects=self.suspects,
            error=self.worker.error,
        )
        try:
            return coordinator.work(report)
        except PsError:
            return None

    def _learn(self, orders: WorkerOrders) -> str:
        assignment, directory = orders.assignment, orders.directory
        if assignment is None or not directory.is_whole:
            return "waiting"
        if assignment != self.assignment:
            self.assignment = assignment
            self.examples = 0
            self.counted = {}
            if assignment.state:
                known = stream.positions_in(assignment.state)
                self.counted = {p: known[p] for p in assignment.partitions if p in known}
        if self.begun != (assignment.generation, directory.version):
            self._begin(assignment, directory)
        client = self.client
        assert client is not None
        for _ in range(5):
            moved = False
            for partition in assignment.partitions:
                moved |= self._push(client, assignment, partition)
                if self.ended.is_set():
                    return "waiting"
            if not moved:
                return "finished"
        return "learning"

    def _begin(self, assignment: Assignment, directory: Directory) -> None:
        wires = []
        for shard, leader in enumerate(directory.leaders):
            assert leader is not None
            wires.append(Wire(self.fleet, leader.address, shard, directory.shards))
        self.client = RoutingClient(wires)
        self.client.fence(dict.fromkeys(assignment.partitions, assignment.generation))
        self.cuts = self.client.resume_cuts()
        self.at = {p: self.cuts.get(p, (0,))[0] for p in assignment.partitions}
        self.suspects = ()
        self.begun = (assignment.generation, directory.version)

    def _push(self, client: RoutingClient, assignment: Assignment, partition: str) -> bool:
        begin = self.at[partition]
        end = self.fleet.partitions[partition]
        if self.worker.limit is not None:
            end = min(end, self.worker.limit)
        if begin >= end:
            return False
        cuts = [cut for cut in self.cuts.get(partition, ()) if cut > begin]
        end = min(end, begin + self.worker.batch, *cuts)
        stream.push(client, partition, begin, end, assignment.generation, assignment.skips)
        self.at[partition] = end
        fresh = max(0, end - max(begin, self.counted.get(partition, 0)))
        self.examples += fresh
        self.counted[partition] = max(end, self.counted.get(partition, 0))
        return True

    def _silent(self, directory: Directory) -> tuple[int, ...]:
        found = []
        for shard, leader in enumerate(directory.leaders):
            if leader is not None:
                try:
                    Wire(self.fleet, leader.address, shard, directory.shards).positions()
                except PsError:
                    found.append(shard)
        return tuple(found)


def until(condition: Callable[[], bool], what: str, timeout_s: float = DEADLINE_S) -> None:
    """Wait for something another thread does."""
    waiting = threading.Event()
    for _ in range(int(timeout_s / 0.01)):
        if condition():
            return
        waiting.wait(0.01)
    raise AssertionError(f"not within {timeout_s:g} s: {what}")
