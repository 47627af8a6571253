"""Rollback: every shard back to a restore point, with ranges of the stream left out from then on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ps.admin.target import RollbackReport
from ps.coordinator.holding import held
from ps.coordinator.job import to_be_sent
from ps.coordinator.leaders import Led
from ps.coordinator.operations.snapshot import commit_present
from ps.errors import SpecError, StoreUnavailableError
from ps.store.history import all_fids

if TYPE_CHECKING:
    from ps.coordinator.coordinator import Coordinator
    from ps.coordinator.fanout import Answers
    from ps.coordinator.job import Job
    from ps.coordinator.knowledge import StreamKnowledge
    from ps.host.port import GoneBack
    from ps.store.commit import Commit, Skips

HOLD_S = 60.0
# Each shard is read from the store once more, beside what it holds.
_GO_BACK_S = 1_800.0
_REPLACED_S = 60.0
_COMMIT_S = 60.0
_RETRY_S = 0.5


def roll_back(
    coordinator: Coordinator, knowledge: StreamKnowledge, epoch: int, skips: Skips
) -> RollbackReport:
    """Go back to a restore point and read the stream again from there:

    1. hold the workers, with all shards at one position, and let nobody else change anything
    2. commit the present: it stays a restore point, so a rollback can be taken back
    3. draw a generation
    4. every leader goes back; what it leads on with is its next block for all who follow
    5. seal, save and commit, with the workers' state of then, and what is to be left out from now on
    6. deal the partitions out again at that generation; workers go on

    A crash or an error before 5 is done leaves it not done: shards that went back already learn again
    all that they lack, the others ignore it, and nothing is left out. Afterwards it is done. Raises
    JobBusyError, NoRestorePointError, StoreError, ShardUnavailableError, and SpecError for `skips` that
    the restore point has learned from.
    """
    job = coordinator.job
    target, left_out = _checked(job, knowledge, epoch, skips)
    learned_again = knowledge.without(job.ownership.skips, left_out)
    with (
        held(job, "rollback", HOLD_S),  # 1
        coordinator.leadership.suspended(_REPLACED_S),
        coordinator.commits.alone(),
    ):
        began_s = job.clock.monotonic_s()
        present = commit_present(coordinator)  # 2
        generation = job.keeping.draw()  # 3
        gone = _go_back(job, target, present, generation)  # 4
        commit = _commit(coordinator, target, left_out)  # 5
        job.ownership.renew(generation, left_out, target.worker or None)  # 6
    went = list(gone.results.values())
    return RollbackReport(
        dry_run=False,
        from_epoch=present.at.epoch,
        to_epoch=epoch,
        epoch=commit.at.epoch,
        generation=generation,
        positions=commit.positions,
        skips=left_out,
        rows_changed=sum(one.rows_changed for one in went),
        rows_removed=sum(one.rows_removed for one in went),
        seconds=job.clock.monotonic_s() - began_s,
        learned_again=learned_again,
    )


def plan_rollback(
    coordinator: Coordinator, knowledge: StreamKnowledge, epoch: int, skips: Skips
) -> RollbackReport:
    """What roll_back() would do, from the newest restore point instead of the present.

    Reads the store in the caller's thread, one shard after another (its memory: one shard, two where
    it is not known what changed); training goes on. Raises what roll_back() raises.
    """
    job = coordinator.job
    target, left_out = _checked(job, knowledge, epoch, skips)
    present = job.keeping.present()
    changed = job.keeping.changed_since(target, present, job.shards)
    here = missing = 0
    for spec in job.specs:
        restored = job.keeping.restore(target, spec, job.shards)
        if changed is None:
            before = job.keeping.restore(present, spec, job.shards)
            [by_table] = all_fids([before], [restored])
        else:
            by_table = changed[spec.shard]
        for table, fids in by_table.items():
            found = int(restored.table(table).contains(fids).sum())
            here += found
            missing += fids.size - found
    return RollbackReport(
        dry_run=True,
        from_epoch=present.at.epoch,
        to_epoch=epoch,
        epoch=job.numbering.newest + 1,
        generation=job.keeping.generation + 1,
        positions=target.positions,
        skips=left_out,
        rows_changed=here,
        rows_removed=missing,
        seconds=0.0,
        learned_again=knowledge.without(job.ownership.skips, left_out),
    )


def _checked(
    job: Job, knowledge: StreamKnowledge, epoch: int, skips: Skips
) -> tuple[Commit, Skips]:
    """The restore point, and what is left out from it on."""
    target = job.keeping.commit_of(epoch)
    if not target.worker and any(target.positions.values()):
        raise SpecError(
            f"restore point {epoch} does not say how far the stream was counted, so training cannot "
            "go on from there; take another"
        )
    return target, knowledge.left_out(job.keeping, target, skips)


def _go_back(job: Job, target: Commit, present: Commit, generation: int) -> Answers[int, GoneBack]:
    sent, there, epoch = to_be_sent(target), to_be_sent(present), job.numbering.newest
    led = job.leaders.all()
    answers = job.fanout.each(
        "go back",
        led,
        lambda _, one: one.seat.port.go_back(job.term, sent, there, generation, epoch=epoch),
        _GO_BACK_S,
    )
    for shard in answers.results:
        one = led[shard]
        leader = replace(one.leader, generation=generation)
        job.leaders.put(shard, Led(leader, one.seat, one.process))
    answers.raise_first()
    return answers


def _commit(coordinator: Coordinator, target: Commit, left_out: Skips) -> Commit:
    """Once more where the store is away for a moment: all that went before would be for nothing."""
    job = coordinator.job
    by_s = job.clock.monotonic_s() + _COMMIT_S
    while True:
        try:
            return coordinator.commits.commit_all(worker=target.worker, skips=left_out)
        except StoreUnavailableError:
            if job.clock.monotonic_s() > by_s or job.stopped.wait(_RETRY_S):
                raise
