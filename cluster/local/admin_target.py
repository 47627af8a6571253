"""A run as an operator sees it: the calls of the admin service, carried out between two batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from cluster.local import inspection, restore_points
from cluster.local.failover import fail_over
from cluster.local.resharding import plan_reshard, reshard
from cluster.local.rollback import plan_rollback, roll_back
from ps.errors import NoStoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cluster.local.control import Control
    from cluster.local.durability import Durability
    from cluster.local.succession import Succession
    from ps.admin.target import (
        FailoverReport,
        InspectedRow,
        InspectedSlot,
        JobStatus,
        Pausable,
        PruneReport,
        ReshardReport,
        RestorePoint,
        RollbackReport,
        TableStatus,
    )
    from ps.shard import Shard
    from ps.store.commit import Skips

T = TypeVar("T")

# A batch takes a fraction of a second; a source may take longer to hand over the next one.
_MOMENT_S = 10.0
_SEALED_S = 60.0
# Rows there cannot be more of: look at all.
_ALL_ROWS = 1 << 32


class RunTarget:
    """See ps.admin.target.AdminTarget."""

    def __init__(self, run: Succession, control: Control) -> None:
        self._run = run
        self._control = control

    def status(self) -> JobStatus:
        """See AdminTarget."""
        durability = self._run.durability
        return self._run.board.read(None if durability is None else durability.status())

    def tables(self) -> list[TableStatus]:
        """See AdminTarget."""
        return self._between("tables", lambda: inspection.table_statuses(self._shards))

    def inspect_fid(self, fid: int, table: str | None) -> list[InspectedRow]:
        """See AdminTarget."""
        return self._between("inspect", lambda: inspection.inspect_fid(self._shards, fid, table))

    def inspect_slot(self, slot: int, table: str | None, rows: int) -> list[InspectedSlot]:
        """See AdminTarget."""
        return self._between(
            "inspect", lambda: inspection.inspect_slot(self._shards, slot, table, rows)
        )

    def restore_points(self) -> list[RestorePoint]:
        """See AdminTarget."""
        return restore_points.listed(self._store("listing restore points"))

    def create_snapshot(self, name: str) -> RestorePoint:
        """See AdminTarget. Training goes on while epochs are gathered and saved."""
        store = self._store("a snapshot")
        restore_points.check_name(store, name)
        self._save_epoch(store)
        # The next restore point then begins with bases, and reads as fast as can be.
        store.compact()
        return restore_points.pin(store, name, self._save_epoch(store), self._run.clock)

    def prune(self, *, dry_run: bool) -> PruneReport:
        """See AdminTarget."""
        return restore_points.pruned(self._store("pruning"), dry_run=dry_run)

    def rollback(self, epoch: int, skips: Skips, *, dry_run: bool) -> RollbackReport:
        """See AdminTarget."""
        self._store("rollback")
        if dry_run:
            return plan_rollback(self._run, epoch, skips)
        return self._change("rolling back", lambda: roll_back(self._run, epoch, skips))

    def reshard(self, shards: int, *, dry_run: bool) -> ReshardReport:
        """See AdminTarget."""
        if dry_run:
            return self._between("reshard", lambda: plan_reshard(self._run, shards))
        # What is under way is waited for in this thread, while training goes on.
        with self._store("resharding").upkeep_held():
            return self._change("resharding", lambda: reshard(self._run, shards))

    def failover(self, shard: int) -> FailoverReport:
        """See AdminTarget."""
        return self._change("failing over", lambda: fail_over(self._run, shard))

    def pause(self, what: Pausable) -> None:
        """See AdminTarget. Never waits: training stops after the batch at hand."""
        self._run.board.pause(what)
        if what == "training":
            self._run.loop.paused = True
        else:
            self._run.publishing.pause()

    def resume(self, what: Pausable) -> None:
        """See AdminTarget."""
        self._run.board.resume(what)
        if what == "training":
            self._run.loop.paused = False
        else:
            self._run.publishing.resume()

    def expire(self) -> Mapping[str, int]:
        """See AdminTarget."""

        def expire() -> dict[str, int]:
            freed: dict[str, int] = {}
            with self._run.learning.lock:
                for shard in self._shards:
                    now_s = shard.stats().event_ts_us // 1_000_000
                    for spec in shard.spec.tables:
                        gone = shard.table(spec.name).expire(now_s=now_s, budget_rows=_ALL_ROWS)
                        freed[spec.name] = freed.get(spec.name, 0) + gone
            return freed

        return self._between("expire", expire)

    @property
    def _shards(self) -> list[Shard]:
        return self._run.learning.shards

    def _between(self, what: str, do: Callable[[], T]) -> T:
        return self._control.call(what, do, deadline_s=_MOMENT_S)

    def _change(self, state: str, do: Callable[[], T]) -> T:
        """Something that takes a while, and that status tells of meanwhile."""
        board = self._run.board

        def change() -> T:
            before, board.state = board.state, state
            try:
                return do()
            finally:
                board.state = before
                self._run.tell()

        return self._between(state, change)

    def _save_epoch(self, store: Durability) -> int:
        """Have an epoch cut and saved, and wait for it: its number."""
        epoch = self._between("sealing an epoch", self._run.epochs.ask).wait(_SEALED_S)
        store.wait_saved(epoch)
        return epoch

    def _store(self, asked: str) -> Durability:
        if self._run.durability is None:
            raise NoStoreError(asked)
        return self._run.durability
