"""The process of a shard on a Ray cluster: its host, and its data service. A few lines on purpose."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ps.clock import SystemClock
from ps.host.held import HostLimits
from ps.host.host import ShardHost
from ps.net.remote import RemoteShard
from ps.net.server import ShardServer
from ps.store.opening import open_location

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.admin.target import TableStatus
    from ps.block import Cursor
    from ps.host.port import GoneBack, HostStatus, SavedBlock
    from ps.inspected import InspectedRow, InspectedSlot
    from ps.shard import ShardSpec
    from ps.store.commit import Commit


@dataclass(frozen=True, slots=True)
class ShardActorSpec:
    """What a shard's process is started with.

    seat: its name, such as shard-3.1. store: URL of the job's. token: of the job's data services.
    listen: the address to listen at; None: the one by which Ray knows the machine.
    """

    seat: str
    store: str
    token: str = field(repr=False)
    listen: str | None = None
    limits: HostLimits = field(default_factory=HostLimits)


class ShardActor:
    """A ShardPort. ray.remote is applied by whoever starts it; give it several threads
    (max_concurrency), or hello() and seal() wait for a restore.
    """

    def __init__(self, spec: ShardActorSpec) -> None:
        ip = _node_ip()
        clock = SystemClock()
        self._stopped = threading.Event()
        self._host = ShardHost(
            spec.seat,
            open_store=lambda: open_location(spec.store),
            connect=lambda address, shard, shards: RemoteShard(
                address, shard, shards, token=spec.token, clock=clock
            ),
            clock=clock,
            node=f"{socket.gethostname()} ({ip})",
            limits=spec.limits,
        )
        self._server = ShardServer(self._host, token=spec.token, host=spec.listen or ip)
        self._server.start()
        self._host.address = self._server.address

    def stay(self) -> None:
        """Return when the process is told to stop, and not before: who waits for it learns of its end."""
        self._stopped.wait()

    def stop(self) -> None:
        """Serve and follow no more. What is not saved is lost with the process."""
        self._host.close()
        self._server.stop()
        self._stopped.set()

    def hello(self) -> HostStatus:
        """See ShardPort."""
        return self._host.hello()

    def restore(self, term: int, spec: ShardSpec, shards: int, commit: Commit | None) -> HostStatus:
        """See ShardPort."""
        return self._host.restore(term, spec, shards, commit)

    def follow(
        self, term: int, spec: ShardSpec, shards: int, commit: Commit | None, leader: str
    ) -> HostStatus:
        """See ShardPort."""
        return self._host.follow(term, spec, shards, commit, leader)

    def lead(
        self, term: int, generation: int, *, epoch: int, follows: Cursor | None = None
    ) -> HostStatus:
        """See ShardPort."""
        return self._host.lead(term, generation, epoch=epoch, follows=follows)

    def step_down(self, term: int) -> HostStatus:
        """See ShardPort."""
        return self._host.step_down(term)

    def seal(self, term: int, epoch: int, sealed_us: int) -> Cursor:
        """See ShardPort."""
        return self._host.seal(term, epoch, sealed_us)

    def save(self, term: int, after: Cursor) -> SavedBlock:
        """See ShardPort."""
        return self._host.save(term, after)

    def go_back(
        self, term: int, commit: Commit, present: Commit, generation: int, *, epoch: int
    ) -> GoneBack:
        """See ShardPort."""
        return self._host.go_back(term, commit, present, generation, epoch=epoch)

    def tables(self) -> list[TableStatus]:
        """See ShardPort."""
        return self._host.tables()

    def inspect_fid(self, fid: int, table: str | None) -> list[InspectedRow]:
        """See ShardPort."""
        return self._host.inspect_fid(fid, table)

    def inspect_slot(self, slot: int, table: str | None, rows: int) -> list[InspectedSlot]:
        """See ShardPort."""
        return self._host.inspect_slot(slot, table, rows)

    def expire(self, term: int) -> Mapping[str, int]:
        """See ShardPort."""
        return self._host.expire(term)

    def digest(self) -> str:
        """See ShardPort."""
        return self._host.digest()


def _node_ip() -> str:
    import ray

    find: Any = ray.util.get_node_ip_address
    return str(find())
