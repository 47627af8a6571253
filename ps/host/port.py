"""What the coordinator may ask of the process of a shard, wherever that runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.admin.target import ShardStatus, TableStatus
    from ps.block import Block, Cursor
    from ps.inspected import InspectedRow, InspectedSlot
    from ps.shard_spec import ShardSpec
    from ps.store.commit import Commit
    from ps.stream import Positions

# empty: holds no shard. following: a standby, kept current from the leader's blocks. leading: learns.
Role = Literal["empty", "following", "leading"]


@dataclass(frozen=True, slots=True)
class HostStatus:
    """One process of a shard at a glance.

    process: drawn anew whenever the process starts. address: of its data service. shard, shards: what
    it holds, of how many; None while it holds nothing. cursor: its newest epoch; where it has just begun
    to lead, that from which it numbers on, at its own generation. status: as an operator sees it.
    fingerprint: of its code. last_error: why a standby cannot follow just now.
    """

    process: str
    node: str
    pid: int
    address: str
    role: Role
    fingerprint: str
    shard: int | None = None
    shards: int | None = None
    cursor: Cursor | None = None
    positions: Positions = field(default_factory=dict)
    status: ShardStatus | None = None
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class SavedBlock:
    """What a host has written to the store: one block of everything sealed after a cursor.

    head: the block without rows, dense variables and filters; its `follows` is the cursor asked for.
    n_bytes: of the file. rows: alive, by table, as of the head. quiet: nothing happened since the
    cursor, so nothing was written.
    """

    head: Block
    n_bytes: int
    rows: Mapping[str, int]
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class GoneBack:
    """What a rollback changed in one shard: rows that are there, and rows that no longer are."""

    rows_changed: int
    rows_removed: int


class ShardPort(Protocol):
    """A shard's process as the coordinator commands it.

    term: the coordinator's generation when it gave the command. A host obeys the highest it has
    seen, and answers a lower one with StaleTermError. Every command may be repeated. A port to
    another process raises ShardUnavailableError where it does not answer in time; the command may
    then still take effect. Safe to call from several threads.
    """

    def hello(self) -> HostStatus:
        """Who is there; never waits for training."""
        ...

    def restore(self, term: int, spec: ShardSpec, shards: int, commit: Commit | None) -> HostStatus:
        """Hold this shard as a restore point has it (None: as it begins), and wait to lead or follow:
        its role is following, though it follows nobody yet.

        Whatever the process held before is dropped once the new one stands. Raises StoreError.
        """
        ...

    def follow(
        self, term: int, spec: ShardSpec, shards: int, commit: Commit | None, leader: str
    ) -> HostStatus:
        """Be the standby of the leader at this address: what is held goes on where it can, and begins
        with a base from the store or the leader where it cannot. Returns before it has caught up.
        """
        ...

    def lead(
        self, term: int, generation: int, *, epoch: int, follows: Cursor | None = None
    ) -> HostStatus:
        """Learn from now on, at a generation of its own, epochs numbered on after `epoch`.

        follows: see Shard.promote. A host that leads at that very generation already says so.
        Raises SpecError where it holds no shard, or one that was promoted beyond.
        """
        ...

    def step_down(self, term: int) -> HostStatus:
        """Take no more pushes and pulls; what is held and its blocks can still be read."""
        ...

    def seal(self, term: int, epoch: int, sealed_us: int) -> Cursor:
        """End the current epoch as this one, and hand its block to all who follow.

        Where this epoch has been sealed already, or a later one: no effect. Returns the newest cursor
        sealed. Pushes go on while rows are gathered. Raises NotLeadingError.
        """
        ...

    def save(self, term: int, after: Cursor) -> SavedBlock:
        """Have everything sealed after a cursor in the store, as one block, and say what it was.

        `after` is where the store stands; blocks up to there are forgotten. Raises BlockGapError
        where what follows the cursor is not held any more, StoreError.
        """
        ...

    def go_back(
        self,
        term: int,
        commit: Commit,
        present: Commit,
        generation: int,
        *,
        epoch: int,
    ) -> GoneBack:
        """Lead on from an earlier restore point, as an ordinary next block for all who follow.

        commit: where to. present: the newest restore point: what this shard stands at, since nothing
        was learned after it. The difference is counted as changed, as in a rollback in one process.
        Raises StoreError, SpecError.
        """
        ...

    def tables(self) -> list[TableStatus]:
        """Its tables; rows_by_shard has this shard's number alone."""
        ...

    def inspect_fid(self, fid: int, table: str | None) -> list[InspectedRow]:
        """A fid it owns, in every table that knows its slot, or in the one named."""
        ...

    def inspect_slot(self, slot: int, table: str | None, rows: int) -> list[InspectedSlot]:
        """A slot in every table that has it, or in the one named."""
        ...

    def expire(self, term: int) -> Mapping[str, int]:
        """Free every row whose time is over, now; how many, by table."""
        ...

    def digest(self) -> str:
        """A hash of the shard's state."""
        ...
