"""What a running job lets an operator see and do; the service knows nothing else of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ps.inspected import InspectedRow, InspectedSlot
    from ps.store.commit import Skips
    from ps.stream import Positions

Pausable = Literal["training", "publishing"]


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """One shard. standby_epoch: of the standby that follows it; None: there is none."""

    shard: int
    generation: int
    epoch: int
    event_ts_us: int
    positions: Positions
    rows: int
    allocated_bytes: int
    pushes_applied: int
    pushes_repeated: int
    standby_epoch: int | None = None


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """One serving replica. staleness_s: from reading an example to serving what it taught, of late.

    age_s: how long ago what it serves was sealed, by the shard furthest behind: it grows while nothing
    reaches the replica. None until it is ready.
    """

    address: str
    ready: bool
    epochs: Sequence[int]
    generations: Sequence[int]
    rows: int
    staleness_p50_s: float | None
    staleness_p99_s: float | None
    last_error: str | None
    age_s: float | None = None


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """The job's block store. state: ok, behind (blocks wait), failing (last_error says why)."""

    url: str
    state: Literal["ok", "behind", "failing"]
    committed_epoch: int | None
    committed_us: int | None
    waiting_blocks: int
    waiting_bytes: int
    restore_points: int
    stored_bytes: int
    compacting: bool
    last_error: str | None


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job at a glance. state: training, paused, rolling back, resharding, failing over, finished
    (the end of the stream), stopped, failed.

    paused: what an operator has paused. metrics: progressive validation, by name, of the latest
    closed window and in total (window_auc, auc, ...); None where not known yet.
    """

    job: str
    model: str
    version: str
    pid: int
    host: str
    started_us: int
    now_us: int
    state: str
    paused: Sequence[Pausable]
    generation: int
    epoch: int
    examples: int
    examples_per_s: float
    event_ts_us: int
    metrics: Mapping[str, float | None]
    quarantined: Mapping[str, int]
    skips: Skips
    shards: Sequence[ShardStatus]
    replicas: Sequence[ReplicaStatus]
    store: StoreStatus | None


@dataclass(frozen=True, slots=True)
class TableStatus:
    """One table over all shards. slots: number -> ttl, admission and learning rate in words."""

    name: str
    width: int
    state_width: int
    optimizer: str
    initializer: str
    row_bytes: int
    rows: int
    rows_by_shard: Sequence[int]
    capacity_rows: int | None
    rows_admitted: int
    rows_expired: int
    rows_evicted: int
    occurrences_refused: int
    allocated_bytes: int
    slots: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class RestorePoint:
    """One restore point of the store, as people read it. pinned_by: the snapshot's name."""

    epoch: int
    generation: int
    created_us: int
    event_ts_us: int
    shards: int
    positions: Positions
    rows: int
    bytes_to_read: int
    aligned: bool
    pinned_by: str | None = None


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What pruning deletes, or (dry_run) would delete."""

    dry_run: bool
    restore_points: Sequence[int]
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class RollbackReport:
    """What going back to a restore point does, or (dry_run) would do.

    from_epoch: where the job stood; to_epoch: the restore point; epoch, generation: where it goes on.
    rows_changed, rows_removed: what is published to replicas as the difference. positions: where the
    stream is read again from. skips: what is left out from then on; learned_again: what was left out
    before, and no longer is. seconds: how long training stood still.
    """

    dry_run: bool
    from_epoch: int
    to_epoch: int
    epoch: int
    generation: int
    positions: Positions
    skips: Skips
    rows_changed: int
    rows_removed: int
    seconds: float
    learned_again: Skips = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReshardReport:
    """Shards before and after, the generation since, and how long training stood still."""

    dry_run: bool
    shards_before: int
    shards_after: int
    epoch: int
    generation: int
    rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class FailoverReport:
    """A shard replaced. source: standby or store. positions: where its stream is read again from."""

    shard: int
    source: Literal["standby", "store"]
    generation: int
    epoch: int
    positions: Positions
    seconds: float


class AdminTarget(Protocol):
    """A running job. Safe to call from any thread; each call waits for a moment between two batches
    where it must, and raises what ps.errors has: JobBusyError where that moment does not come in
    time, NoStoreError where it has no store, NoRestorePointError, SpecError for what cannot be.
    """

    def status(self) -> JobStatus:
        """The job as it stands; never waits for training."""
        ...

    def tables(self) -> list[TableStatus]:
        """Every table."""
        ...

    def inspect_fid(self, fid: int, table: str | None) -> list[InspectedRow]:
        """A fid in every table that knows its slot, or in the one named."""
        ...

    def inspect_slot(self, slot: int, table: str | None, rows: int) -> list[InspectedSlot]:
        """A slot in every table that has it, or in the one named, with up to `rows` of its rows."""
        ...

    def restore_points(self) -> list[RestorePoint]:
        """What the store holds, oldest first."""
        ...

    def create_snapshot(self, name: str) -> RestorePoint:
        """Seal all shards at one position, commit, and pin it under a name."""
        ...

    def prune(self, *, dry_run: bool) -> PruneReport:
        """Delete what retention no longer keeps."""
        ...

    def rollback(self, epoch: int, skips: Skips, *, dry_run: bool) -> RollbackReport:
        """Go back to a restore point and read the stream again from there, leaving out `skips`."""
        ...

    def reshard(self, shards: int, *, dry_run: bool) -> ReshardReport:
        """Go on with another number of shards."""
        ...

    def failover(self, shard: int) -> FailoverReport:
        """Promote the shard's standby, or restore the shard from the store."""
        ...

    def pause(self, what: Pausable) -> None:
        """Stop training, or publishing to replicas; serving goes on. Again: no effect."""
        ...

    def resume(self, what: Pausable) -> None:
        """Go on with it."""
        ...

    def expire(self) -> Mapping[str, int]:
        """Free every row whose time is over, now; how many, by table."""
        ...


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """Where the admin service listens. Beyond loopback it needs a token and TLS."""

    host: str = "127.0.0.1"
    port: int = 0
    token: str | None = field(default=None, repr=False)
    tls_cert: bytes | None = None
    tls_key: bytes | None = field(default=None, repr=False)
