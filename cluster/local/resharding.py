"""Resharding: the same model on another number of shards, while replicas go on serving."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ps.admin.target import ReshardReport
from ps.block import Cursor
from ps.errors import NoStoreError, SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.local.durability import Durability
    from cluster.local.succession import Succession
    from ps.shard import ShardSpec


def reshard(run: Succession, shards: int) -> ReshardReport:
    """Go on with another number of shards, between two batches.

    1. seal and save the present
    2. write bases of the new shards to the store, out of what is there, under a generation that
       nothing else is written at, and restore from these
    3. go on with them under the next generation; seal an epoch, with which the store goes on from
       the bases, and from then on restores the new shards
    4. let every replica lay the new set out beside what it serves, and change over in one step

    Until 3 nothing has changed but for an epoch sealed early. From then on the job goes on with the
    new shards, even where their first epoch cannot be saved for now, which is told. The caller holds
    the store's upkeep: no restore point names the bases before that epoch is saved. Raises SpecError,
    NoStoreError, StoreError.
    """
    began_s = run.clock.monotonic_s()
    before = len(run.learning.shards)
    specs, store = _checked(run, shards)
    run.epochs.seal(asked_for=True)  # 1
    present = store.save_now()
    # The present shards may have to go on: their next epoch must not be taken for these bases.
    at = Cursor(run.epochs.number + 1, run.next_generation())  # 2
    chains = store.cut_anew(present, shards, at)
    fresh = store.restore(replace(present, shards=chains), specs)
    generation = run.next_generation()  # 3
    with run.publishing.standing_still():
        run.install(fresh, generation)
        run.publishing.forget()
        store.begin_chains(chains)
        run.epochs.seal(asked_for=True)
        run.publishing.start_over()  # 4
    store.save_now()
    return ReshardReport(
        dry_run=False,
        shards_before=before,
        shards_after=shards,
        epoch=run.epochs.number,
        generation=generation,
        rows=sum(run.learning.rows().values()),
        seconds=run.clock.monotonic_s() - began_s,
    )


def plan_reshard(run: Succession, shards: int) -> ReshardReport:
    """What reshard() would do. Raises SpecError, NoStoreError."""
    _checked(run, shards)
    cursor = max(shard.cursor for shard in run.learning.shards)
    return ReshardReport(
        dry_run=True,
        shards_before=len(run.learning.shards),
        shards_after=shards,
        epoch=cursor.epoch + 3,
        generation=cursor.generation + 2,
        rows=sum(run.learning.rows().values()),
        seconds=0.0,
    )


def _checked(run: Succession, shards: int) -> tuple[Sequence[ShardSpec], Durability]:
    if run.durability is None:
        raise NoStoreError("resharding")
    if not 1 <= shards <= 1_024:
        raise SpecError(f"a model has 1 to 1,024 shards, not {shards}")
    if shards == len(run.learning.shards):
        raise SpecError(f"the job has {shards} shard(s) already")
    if run.plan.train.grain == "example":
        raise SpecError("learning by example needs its only shard at hand; set grain: batch first")
    if run.publishing.paused:
        raise SpecError("publishing is paused, and replicas would have to change over; resume it")
    return run.plan.shard_specs(shards), run.durability
