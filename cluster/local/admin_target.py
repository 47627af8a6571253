"""A run as an operator sees it: the calls of the admin service, carried out between two batches."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

from cluster.local.failover import fail_over
from cluster.local.resharding import plan_reshard, reshard
from cluster.local.rollback import plan_rollback, roll_back
from ps.admin import inspection, journal, restore_points
from ps.admin.journal import Journal
from ps.errors import JobBusyError, NoStoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cluster.local.control import Control
    from cluster.local.durability import Durability
    from cluster.local.succession import Succession
    from ps.admin.target import (
        FailoverReport,
        JobStatus,
        Pausable,
        PruneReport,
        ReshardReport,
        RestorePoint,
        RollbackReport,
        TableStatus,
    )
    from ps.inspected import InspectedRow, InspectedSlot
    from ps.shard import Shard
    from ps.store.commit import Skips

T = TypeVar("T")

# A batch takes a fraction of a second; a source may take longer to hand over the next one.
_MOMENT_S = 10.0
_SEALED_S = 60.0
# Shards that a failover left apart stand together once what one of them lost is read again.
_ALIGNED_S = 60.0
_LOOK_S = 0.02
# Rows there cannot be more of: look at all.
_ALL_ROWS = 1 << 32


class RunTarget:
    """See ps.admin.target.AdminTarget. say: told of everything that an operator has the job do."""

    def __init__(self, run: Succession, control: Control, say: Callable[[str], None]) -> None:
        self._run = run
        self._control = control
        self._journal = Journal(say, run.clock)

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

        def create() -> RestorePoint:
            restore_points.check_name(store, name)
            self._save_epoch(store)
            # The next restore point then begins with bases, and reads as fast as can be.
            store.compact()
            return restore_points.pin(store, name, self._save_epoch(store), self._run.clock)

        return self._journal.note(f"snapshot {name}", create, journal.snapshot_told)

    def prune(self, *, dry_run: bool) -> PruneReport:
        """See AdminTarget."""
        store = self._store("pruning")
        if dry_run:
            return restore_points.pruned(store, dry_run=True)
        return self._journal.note(
            "prune", lambda: restore_points.pruned(store, dry_run=False), journal.prune_told
        )

    def rollback(self, epoch: int, skips: Skips, *, dry_run: bool) -> RollbackReport:
        """See AdminTarget."""
        self._store("rollback")
        if dry_run:
            return plan_rollback(self._run, epoch, skips)
        return self._journal.note(
            f"{'rollback' if skips else 'restore'} to epoch {epoch}",
            lambda: self._change("rolling back", lambda: roll_back(self._run, epoch, skips)),
            journal.rollback_told,
        )

    def reshard(self, shards: int, *, dry_run: bool) -> ReshardReport:
        """See AdminTarget."""
        store = self._store("resharding")
        if dry_run:
            self._is_aligned("reshard")
            return self._between("reshard", lambda: plan_reshard(self._run, shards))

        def change() -> ReshardReport:
            self._wait_aligned("reshard")
            # What is under way is waited for in this thread, while training goes on.
            with store.upkeep_held():
                return self._change("resharding", lambda: reshard(self._run, shards))

        return self._journal.note(f"reshard to {shards}", change, journal.reshard_told)

    def failover(self, shard: int) -> FailoverReport:
        """See AdminTarget."""
        return self._journal.note(
            f"failover of shard {shard}",
            lambda: self._change("failing over", lambda: fail_over(self._run, shard)),
            journal.failover_told,
        )

    def pause(self, what: Pausable) -> None:
        """See AdminTarget. Never waits: training stops after the batch at hand."""

        def pause() -> None:
            self._run.board.pause(what)
            if what == "training":
                self._run.loop.paused = True
            else:
                self._run.publishing.pause()

        self._journal.note(f"pause {what}", pause, lambda _: "paused")

    def resume(self, what: Pausable) -> None:
        """See AdminTarget."""

        def resume() -> None:
            self._run.board.resume(what)
            if what == "training":
                self._run.loop.paused = False
            else:
                self._run.publishing.resume()

        self._journal.note(f"resume {what}", resume, lambda _: "goes on")

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

        return self._journal.note(
            "expire", lambda: self._between("expire", expire), journal.expire_told
        )

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
        """Have an epoch cut and saved, with all shards at one position, and wait for it: its number."""
        self._wait_aligned("a snapshot")
        epoch = self._between("sealing an epoch", self._run.epochs.ask).wait(_SEALED_S)
        store.wait_saved(epoch)
        return epoch

    def _wait_aligned(self, what: str) -> None:
        """Wait until all shards stand at the same positions, while training goes on.

        Raises JobBusyError where training is paused, or they do not come together in time.
        """
        pause = threading.Event()
        for _ in range(round(_ALIGNED_S / _LOOK_S)):
            if self._is_aligned(what):
                return
            pause.wait(_LOOK_S)
        raise JobBusyError(
            f"{what}: the shards have stood at different positions for {_ALIGNED_S:g} s, since a "
            "shard was replaced and the stream has not been read again so far; look at the job's "
            "status, and try again"
        )

    def _is_aligned(self, what: str) -> bool:
        """Whether all shards stand at the same positions. Raises JobBusyError where they never will."""

        def ask() -> bool:
            cuts = self._run.learning.client.resume_cuts()
            return all(len(positions) == 1 for positions in cuts.values())

        aligned = self._between(what, ask)
        if not aligned and self._run.loop.paused:
            raise JobBusyError(
                f"{what} needs all shards at one position. One that was replaced still has to learn "
                "again what the others have, and training is paused: ps-admin resume training, then "
                "try again"
            )
        return aligned

    def _store(self, asked: str) -> Durability:
        if self._run.durability is None:
            raise NoStoreError(asked)
        return self._run.durability
