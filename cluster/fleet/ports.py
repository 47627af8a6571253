"""A shard's process as the coordinator commands it, by calls to the actor that it is in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cluster.fleet.calls import call

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ray.actor import ActorHandle

    from ps.admin.target import TableStatus
    from ps.block import Cursor
    from ps.host.port import GoneBack, HostStatus, SavedBlock
    from ps.inspected import InspectedRow, InspectedSlot
    from ps.shard_spec import ShardSpec
    from ps.store.commit import Commit

# A process that does not say hello in this time is as good as gone.
_HELLO_S = 3.0
# What has to be looked at, or told, beside training.
_LOOK_S = 15.0
# Sealing gathers the rows of an epoch; leading waits for what is under way.
_TURN_S = 60.0
# Writing what was sealed, at the pace of the store.
_SAVE_S = 120.0
# Reading a whole shard from the store.
_READ_S = 1_800.0


class ActorPort:
    """See ps.host.port.ShardPort. handle: the actor now, None before there is one."""

    def __init__(self, where: str, handle: Callable[[], ActorHandle | None]) -> None:
        self._where = where
        self._handle = handle

    def hello(self) -> HostStatus:
        """See ShardPort."""
        status: HostStatus = self._call("hello", _HELLO_S)
        return status

    def restore(self, term: int, spec: ShardSpec, shards: int, commit: Commit | None) -> HostStatus:
        """See ShardPort."""
        status: HostStatus = self._call("restore", _READ_S, term, spec, shards, commit)
        return status

    def follow(
        self, term: int, spec: ShardSpec, shards: int, commit: Commit | None, leader: str
    ) -> HostStatus:
        """See ShardPort."""
        status: HostStatus = self._call("follow", _TURN_S, term, spec, shards, commit, leader)
        return status

    def lead(
        self, term: int, generation: int, *, epoch: int, follows: Cursor | None = None
    ) -> HostStatus:
        """See ShardPort."""
        status: HostStatus = self._call(
            "lead", _TURN_S, term, generation, epoch=epoch, follows=follows
        )
        return status

    def step_down(self, term: int) -> HostStatus:
        """See ShardPort."""
        status: HostStatus = self._call("step_down", _LOOK_S, term)
        return status

    def seal(self, term: int, epoch: int, sealed_us: int) -> Cursor:
        """See ShardPort."""
        cursor: Cursor = self._call("seal", _TURN_S, term, epoch, sealed_us)
        return cursor

    def save(self, term: int, after: Cursor) -> SavedBlock:
        """See ShardPort."""
        saved: SavedBlock = self._call("save", _SAVE_S, term, after)
        return saved

    def go_back(
        self, term: int, commit: Commit, present: Commit, generation: int, *, epoch: int
    ) -> GoneBack:
        """See ShardPort."""
        gone: GoneBack = self._call(
            "go_back", _READ_S, term, commit, present, generation, epoch=epoch
        )
        return gone

    def tables(self) -> list[TableStatus]:
        """See ShardPort."""
        tables: list[TableStatus] = self._call("tables", _LOOK_S)
        return tables

    def inspect_fid(self, fid: int, table: str | None) -> list[InspectedRow]:
        """See ShardPort."""
        rows: list[InspectedRow] = self._call("inspect_fid", _LOOK_S, fid, table)
        return rows

    def inspect_slot(self, slot: int, table: str | None, rows: int) -> list[InspectedSlot]:
        """See ShardPort."""
        slots: list[InspectedSlot] = self._call("inspect_slot", _TURN_S, slot, table, rows)
        return slots

    def expire(self, term: int) -> Mapping[str, int]:
        """See ShardPort."""
        freed: Mapping[str, int] = self._call("expire", _TURN_S, term)
        return freed

    def digest(self) -> str:
        """See ShardPort."""
        digest: str = self._call("digest", _SAVE_S)
        return digest

    def _call(self, method: str, deadline_s: float, *args: Any, **named: Any) -> Any:
        return call(self._where, self._handle(), method, deadline_s, *args, **named)
