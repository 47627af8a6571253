"""A job that only remembers what was asked of it, with figures that differ from each other."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ps.admin.target import (
    FailoverReport,
    JobStatus,
    PruneReport,
    ReplicaStatus,
    ReshardReport,
    RestorePoint,
    RollbackReport,
    ShardStatus,
    StoreStatus,
    TableStatus,
)
from ps.inspected import InspectedRow, InspectedSlot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.admin.target import Pausable
    from ps.store.commit import Skips

STORE = StoreStatus(
    url="file:///data/clicks",
    state="behind",
    committed_epoch=1200,
    committed_us=1_700_003_590_000_000,
    waiting_blocks=7,
    waiting_bytes=7_000_000,
    restore_points=40,
    stored_bytes=5_000_000_000,
    compacting=True,
    last_error="slow disk",
)

STATUS = JobStatus(
    job="clicks",
    model="clicks-9f3a",
    version="0.1.0",
    pid=4711,
    host="ranker-1",
    started_us=1_700_000_000_000_000,
    now_us=1_700_003_600_000_000,
    state="training",
    paused=("publishing",),
    generation=3,
    epoch=1207,
    examples=123_456_789,
    examples_per_s=45_678.5,
    event_ts_us=1_699_999_999_000_000,
    metrics={"auc": 0.75, "window_auc": None},
    quarantined={"not a number": 12, "no label": 3},
    skips={"clicks/0": ((100, 200), (300, 400))},
    shards=(
        ShardStatus(
            0, 3, 1207, 11, {"clicks/0": 5_000, "clicks/1": 6_000}, 70, 1 << 20, 9, 1, 1206
        ),
        ShardStatus(
            1, 3, 1206, 12, {"clicks/0": 4_000, "clicks/1": 7_000}, 71, 1 << 21, 8, 0, None
        ),
    ),
    replicas=(
        ReplicaStatus("127.0.0.1:8500", True, (1207, 1206), (3, 3), 141, 0.25, 1.5, None, 9.5),
        ReplicaStatus("127.0.0.1:8501", False, (), (), 0, None, None, "no base yet"),
    ),
    store=STORE,
)

BARE = replace(
    STATUS, metrics={}, quarantined={}, skips={}, paused=(), shards=(), replicas=(), store=None
)

TABLES = [
    TableStatus(
        name="users",
        width=16,
        state_width=16,
        optimizer="adagrad",
        initializer="uniform 0.01",
        row_bytes=192,
        rows=141,
        rows_by_shard=(70, 71),
        capacity_rows=1_000,
        rows_admitted=200,
        rows_expired=50,
        rows_evicted=9,
        occurrences_refused=7,
        allocated_bytes=3 << 20,
        slots={3: "ttl 7 d", 5: "seen 3 times"},
    ),
    TableStatus(
        "items", 8, 0, "sgd", "zeros", 64, 5, (5, 0), None, 5, 0, 0, 0, 1 << 20, {4: "all"}
    ),
]

FID = (3 << 48) | 42
ROW = InspectedRow("users", FID, 3, 1, 700, True, 1_600_000, 1_700_000, (0.5, -1.25), (2.0,), 9)
ABSENT = InspectedRow("users", FID + 1, 3, 0, 5, False, None, None, (0.0,), (), None)
SLOT = InspectedSlot("users", 3, "ttl 7 d", 141, 1_500_000, 1_600_000, (ROW,))

POINTS = [
    RestorePoint(
        1100, 2, 1_700_000_100_000_000, 90, 2, {"clicks/0": 3_000}, 120, 4_096, True, "v1"
    ),
    RestorePoint(1200, 3, 1_700_003_590_000_000, 99, 2, {"clicks/0": 4_500}, 140, 8_192, False),
]

POSITIONS = {"clicks/0": 3_000, "clicks/1": 2_900}


@dataclass
class RecordingJob:
    """An AdminTarget. calls: what was asked; fails: raised by every call; hold: waited for.

    held: set once a call waits.
    """

    state: JobStatus = STATUS
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    fails: Exception | None = None
    hold: threading.Event | None = None
    held: threading.Event = field(default_factory=threading.Event)

    def _called(self, *call: Any) -> None:
        self.calls.append(call)
        if self.fails is not None:
            raise self.fails
        if self.hold is not None and call[0] != "status":
            self.held.set()
            assert self.hold.wait(20.0)

    def status(self) -> JobStatus:
        self._called("status")
        return self.state

    def tables(self) -> list[TableStatus]:
        self._called("tables")
        return TABLES

    def inspect_fid(self, fid: int, table: str | None) -> list[InspectedRow]:
        self._called("inspect_fid", fid, table)
        return [ROW, ABSENT]

    def inspect_slot(self, slot: int, table: str | None, rows: int) -> list[InspectedSlot]:
        self._called("inspect_slot", slot, table, rows)
        return [SLOT, InspectedSlot("items", 3, "all", 0, None, None, ())]

    def restore_points(self) -> list[RestorePoint]:
        self._called("restore_points")
        return POINTS

    def create_snapshot(self, name: str) -> RestorePoint:
        self._called("create_snapshot", name)
        return replace(POINTS[1], pinned_by=name)

    def prune(self, *, dry_run: bool) -> PruneReport:
        self._called("prune", dry_run)
        return PruneReport(dry_run, (1000, 1001), 44, 55_000)

    def rollback(self, epoch: int, skips: Skips, *, dry_run: bool) -> RollbackReport:
        self._called("rollback", epoch, skips, dry_run)
        again: Skips = {} if skips else {"clicks/0": ((100, 200), (300, 400))}
        return RollbackReport(dry_run, 1207, epoch, 1209, 4, POSITIONS, skips, 77, 8, 0.5, again)

    def reshard(self, shards: int, *, dry_run: bool) -> ReshardReport:
        self._called("reshard", shards, dry_run)
        return ReshardReport(dry_run, 2, shards, 1209, 4, 141, 1.5)

    def failover(self, shard: int) -> FailoverReport:
        self._called("failover", shard)
        return FailoverReport(shard, "standby", 4, 1206, POSITIONS, 0.25)

    def pause(self, what: Pausable) -> None:
        self._called("pause", what)

    def resume(self, what: Pausable) -> None:
        self._called("resume", what)

    def expire(self) -> Mapping[str, int]:
        self._called("expire")
        return {"users": 12, "items": 0}
