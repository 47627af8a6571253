"""Resharding: the model on another number of shards; training stands still, serving does not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ps.admin.target import ReshardReport
from ps.block import Cursor
from ps.buckets import MAX_SHARDS
from ps.coordinator.holding import held
from ps.coordinator.leaders import Led
from ps.coordinator.operations.snapshot import commit_present
from ps.directory import Leader
from ps.errors import PsError, ShardUnavailableError, SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ps.coordinator.coordinator import Coordinator
    from ps.coordinator.fleet import ShardSeat
    from ps.coordinator.job import Job
    from ps.shard_spec import ShardSpec
    from ps.store.commit import Commit

HOLD_S = 60.0
# Machines may have to be started for the new shards.
_ROOM_S = 600.0
_REPLACED_S = 60.0
# Each new shard is read from the store.
_RESTORE_S = 1_800.0
_LEAD_S = 60.0


def reshard(coordinator: Coordinator, shards: int) -> ReshardReport:
    """Go on with another number of shards:

    1. have places for them, while training goes on
    2. hold the workers, with all shards at one position, and let nobody else change anything
    3. commit the present
    4. write bases of the new shards to the store, under a generation that nothing else is written at
    5. restore each of them: in a process that does not lead, where there is one
    6. have them lead at the next generation
    7. publish them in one step: from now on the job goes on with them
    8. commit, from when on the store restores them
    9. let the workers go on, and end what nobody needs once replicas have changed over

    A crash or an error before 7 leaves the shards there were; those whose process had to make room are
    restored from 3. So does a crash before 8, with what was published forgotten; an error at 8 is told,
    and the next restore point makes up for it. Raises SpecError, JobBusyError, StoreError,
    ShardUnavailableError.
    """
    job = coordinator.job
    specs = _checked(coordinator, shards)
    before = job.shards
    job.fleet.resize(shards, _ROOM_S)  # 1
    with (
        job.keeping.upkeep_held(),
        held(job, "resharding", HOLD_S),  # 2
        coordinator.leadership.suspended(_REPLACED_S),
        coordinator.commits.alone(),
    ):
        began_s = job.clock.monotonic_s()
        present = commit_present(coordinator)  # 3
        try:
            at = Cursor(job.numbering.next(), job.keeping.draw())
            chains = job.keeping.cut_anew(present, shards, at)  # 4
            seats = _restored(coordinator, specs, replace(present, shards=chains))  # 5
            generation = job.keeping.draw()
            led = _lead(job, seats, generation)  # 6
        except BaseException:
            # Whoever made room for a new shard does not lead an old one any more.
            coordinator.supervisor.suspect(range(before))
            job.fleet.retire(before)
            raise
        job.keeping.begin_chains(chains)
        coordinator.commits.forget_rows()
        job.specs = specs
        job.leaders.replace(led)  # 7
        try:
            rows = coordinator.commits.commit_all().rows  # 8
        except PsError as error:
            if job.has_been_replaced(error):
                raise
            job.say(f"resharding: the new shards are not saved yet: {error}")
            rows = present.rows
    coordinator.supervisor.retire()  # 9
    job.woken.set()
    return ReshardReport(
        dry_run=False,
        shards_before=before,
        shards_after=shards,
        epoch=job.numbering.newest,
        generation=generation,
        rows=sum(rows.values()),
        seconds=job.clock.monotonic_s() - began_s,
    )


def plan_reshard(coordinator: Coordinator, shards: int) -> ReshardReport:
    """What reshard() would do. Raises SpecError."""
    job = coordinator.job
    _checked(coordinator, shards)
    newest = job.keeping.newest
    return ReshardReport(
        dry_run=True,
        shards_before=job.shards,
        shards_after=shards,
        epoch=job.numbering.newest + 3,
        generation=job.keeping.generation + 2,
        rows=0 if newest is None else sum(newest.rows.values()),
        seconds=0.0,
    )


def _checked(coordinator: Coordinator, shards: int) -> tuple[ShardSpec, ...]:
    job = coordinator.job
    if not 1 <= shards <= MAX_SHARDS:
        raise SpecError(f"a model has 1 to {MAX_SHARDS:,} shards, not {shards}")
    if shards == job.shards:
        raise SpecError(f"the job has {shards} shard(s) already")
    if not coordinator.publishing:
        raise SpecError("publishing is paused, and replicas would have to change over; resume it")
    return job.plan.specs_for(shards)


def _restored(
    coordinator: Coordinator, specs: Sequence[ShardSpec], commit: Commit
) -> list[ShardSeat]:
    """The seats that hold the new shards, by number."""
    job, leadership = coordinator.job, coordinator.leadership
    seats: dict[int, ShardSeat] = {}
    for spec in specs:
        led = job.leaders.of(spec.shard)
        found = [one.seat for one in leadership.candidates(spec.shard)]
        if not found:
            raise ShardUnavailableError(f"shard {spec.shard} of {len(specs)}", "no process is up")
        idle = [seat for seat in found if led is None or seat.name != led.seat.name]
        seats[spec.shard] = (idle or found)[0]
    answers = job.fanout.each(
        "restore",
        seats,
        lambda shard, seat: leadership.restore(seat, specs[shard], len(specs), commit),
        _RESTORE_S,
    )
    answers.raise_first()
    return [seats[spec.shard] for spec in specs]


def _lead(job: Job, seats: Sequence[ShardSeat], generation: int) -> list[Led]:
    epoch = job.numbering.newest
    answers = job.fanout.each(
        "lead",
        dict(enumerate(seats)),
        lambda _, seat: seat.port.lead(job.term, generation, epoch=epoch),
        _LEAD_S,
    )
    answers.raise_first()
    return [
        Led(Leader(shard, status.address, generation), seats[shard], status.process)
        for shard, status in sorted(answers.results.items())
    ]
