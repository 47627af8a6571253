"""Failover: a shard replaced by its standby, or by what the store has of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ps.admin.target import FailoverReport
from ps.errors import NoStoreError, SpecError

if TYPE_CHECKING:
    from cluster.local.succession import Succession
    from ps.shard import Shard


def fail_over(run: Succession, number: int) -> FailoverReport:
    """Replace a shard, between two batches.

    What it learned since its last sealed epoch is gone with it, and learned again: the stream is read
    from the oldest position of any shard, and the others ignore what they have. The first block of
    the new generation is sealed at once; from then on whatever the old shard might still send is
    refused by number. Raises SpecError, NoStoreError, StoreError; then nothing has changed.
    """
    shards = list(run.learning.shards)
    if not 0 <= number < len(shards):
        raise SpecError(f"there is no shard {number}; they are 0 to {len(shards) - 1}")
    began_s = run.clock.monotonic_s()
    run.epochs.finish()
    # As of the last epoch: event times that were judged since are judged again.
    guard = run.epochs.guard
    standby, source = _successor(run, number)
    # Its readers may stand further on, where epochs in which nothing happened are not saved.
    follows = [shard.cursor for shard in shards]
    generation = run.next_generation()
    shards[number] = standby
    run.install(shards, generation, follows)
    run.learning.rewind_guard(guard)
    run.epochs.seal(asked_for=True)
    return FailoverReport(
        shard=number,
        source=source,
        generation=generation,
        epoch=run.epochs.number,
        positions=run.learning.client.positions(),
        seconds=run.clock.monotonic_s() - began_s,
    )


def _successor(run: Succession, number: int) -> tuple[Shard, Literal["standby", "store"]]:
    """A shard that stands where the failed one stood at its last sealed epoch, and whence it is."""
    standbys, at = run.publishing.standbys, run.learning.shards[number].cursor
    standby = None if standbys is None else standbys.take(number, at)
    if standby is not None:
        return standby, "standby"
    if run.durability is None:
        raise NoStoreError(f"failover of shard {number}, which has no standby that has caught up,")
    commit = run.durability.save_now()
    specs = run.learning.specs
    [restored] = run.durability.restore(commit, [specs[number]], len(specs))
    return restored, "store"
