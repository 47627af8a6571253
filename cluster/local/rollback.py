"""Rollback: back to a restore point, with ranges of the stream left out from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.local.leaving_out import left_out_from
from cluster.local.worker_state import worker_state
from ps.admin.target import RollbackReport
from ps.errors import NoStoreError, SpecError
from ps.store.history import all_fids
from worker.skipping import without

if TYPE_CHECKING:
    from cluster.local.durability import Durability
    from cluster.local.succession import Succession
    from ps.arrays import U64
    from ps.shard import Shard
    from ps.store.commit import Commit, Skips
    from worker.state import WorkerState


def roll_back(run: Succession, epoch: int, skips: Skips) -> RollbackReport:
    """Go back to a restore point and read the stream again from there, between two batches.

    1. seal and save the present: it stays a restore point, so a rollback can be taken back
    2. restore the epoch from the store into new shards
    3. count every fid that changed since as changed in them: their first block then takes whoever
       stands at the present to the restored state
    4. go on with them under the next generation, with the worker's state of then, and what was left
       out then and is to be from now on
    5. seal that block, hand it to replicas, standbys and store, and read the stream again

    Until 4 nothing has changed but for an epoch sealed early. Raises NoStoreError,
    NoRestorePointError, IncompatibleModelError, StoreError, and SpecError for `skips` that the restore
    point has learned from, or that name a partition there is not.
    """
    began_s = run.clock.monotonic_s()
    store = _store(run)
    target, state = _target(store, epoch)
    left_out = left_out_from(run.plan, store, target, skips)
    learned_again = without(run.learning.skips, left_out)
    run.epochs.seal(asked_for=True)  # 1
    present = store.save_now()
    follows = [shard.cursor for shard in run.learning.shards]
    from_epoch = run.epochs.number
    specs = run.learning.specs
    restored = store.restore(target, specs)  # 2
    changed = store.changed_since(target, present, len(specs))
    if changed is None:
        # Some of the blocks in between are gone: then it can be any fid there is.
        changed = all_fids(run.learning.shards, restored)
    for shard, fids, left in zip(restored, changed, run.learning.shards, strict=True):  # 3
        shard.mark_changed(fids, present=left)
    rows_changed, rows_removed = _difference(restored, changed)
    generation = run.next_generation()  # 4
    run.install(restored, generation, follows)
    for what in run.learning.restore(state, left_out):
        store.say(f"begins afresh: {what}")
    run.epochs.seal(asked_for=True)  # 5
    return RollbackReport(
        dry_run=False,
        from_epoch=from_epoch,
        to_epoch=epoch,
        epoch=run.epochs.number,
        generation=generation,
        positions=run.learning.client.positions(),
        skips=left_out,
        rows_changed=rows_changed,
        rows_removed=rows_removed,
        seconds=run.clock.monotonic_s() - began_s,
        learned_again=learned_again,
    )


def plan_rollback(run: Succession, epoch: int, skips: Skips) -> RollbackReport:
    """What roll_back() would do, from the newest restore point instead of the present.

    Reads the store in the caller's thread; training goes on. Raises what roll_back() raises.
    """
    store = _store(run)
    target, _ = _target(store, epoch)
    left_out = left_out_from(run.plan, store, target, skips)
    present, specs = store.newest(), run.learning.specs
    restored = store.restore(target, specs)
    changed = store.changed_since(target, present, len(specs))
    if changed is None:
        changed = all_fids(store.restore(present, specs), restored)
    rows_changed, rows_removed = _difference(restored, changed)
    return RollbackReport(
        dry_run=True,
        from_epoch=present.at.epoch,
        to_epoch=epoch,
        epoch=present.at.epoch + 1,
        generation=present.at.generation + 1,
        positions=target.positions,
        skips=left_out,
        rows_changed=rows_changed,
        rows_removed=rows_removed,
        seconds=0.0,
        learned_again=without(run.learning.skips, left_out),
    )


def _store(run: Succession) -> Durability:
    if run.durability is None:
        raise NoStoreError("rollback")
    return run.durability


def _target(store: Durability, epoch: int) -> tuple[Commit, WorkerState]:
    """The restore point, and what it says of the stream's reader."""
    commit = store.commit_of(epoch)
    state = worker_state(commit)
    if state is None:
        raise SpecError(
            f"restore point {epoch} does not say how far the stream was counted, so training cannot "
            "go on from there; take another"
        )
    return commit, state


def _difference(shards: list[Shard], changed: list[dict[str, U64]]) -> tuple[int, int]:
    """Of the fids that changed, how many have a row in the shards, and how many have none."""
    present = missing = 0
    for shard, by_table in zip(shards, changed, strict=True):
        for name, fids in by_table.items():
            here = int(shard.table(name).contains(fids).sum())
            present += here
            missing += fids.size - here
    return present, missing
