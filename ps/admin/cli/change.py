"""ps-admin rollback, restore, reshard, failover, pause, resume, expire: changing a running job."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ps.admin.cli.confirm import ask, must_ask
from ps.admin.cli.exits import NothingRunsError
from ps.admin.cli.options import DryRun, Yes, on_target
from ps.admin.cli.session import Session  # noqa: TC001  # on_target reads it
from ps.admin.cli.skips import skips_of
from ps.admin.cli.waiting import waiting

if TYPE_CHECKING:
    from ps.admin.target import (
        FailoverReport,
        Pausable,
        ReshardReport,
        RollbackReport,
    )
    from ps.store.commit import Skips

Epoch = Annotated[
    int,
    typer.Argument(metavar="EPOCH", min=0, help="Of a restore point: see ps-admin snapshot list."),
]


class What(Enum):
    """What can be paused."""

    TRAINING = "training"
    PUBLISHING = "publishing"


WhatArgument = Annotated[What, typer.Argument(metavar="training|publishing", help="What.")]


@on_target
def rollback(
    session: Session,
    epoch: Epoch,
    skip: Annotated[
        list[str],
        typer.Option(
            "--skip",
            metavar="PARTITION:BEGIN-END",
            help="Leave out these offsets of a stream partition, END not included; may be repeated.",
            show_default=False,
        ),
    ],
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Go back to a restore point of a running job, and leave out what was bad in the stream.

    The shards go back to the epoch, the replicas are sent the difference as ordinary blocks, and
    the stream is read again from there without the ranges given. Says what it would do and asks
    first. A range must begin where the restore point stands, or later: what it has learned stays. What
    an earlier rollback left out stays out if it did at that restore point; else it is learned again,
    unless it is given again. A rollback can be undone: what was there before stays a restore point.
    Where nothing is to be left out, see restore.

    \b
    Examples:
      ps-admin rollback 1100 --skip clicks/0:7000-9000 --dry-run
      ps-admin rollback 1100 --skip clicks/0:7000-9000 --skip clicks/1:6500-8800
      ps-admin rollback 1100 --skip clicks/0:7000-9000 --yes --json
    """
    _go_back(session, epoch, skips_of(skip), yes=yes, dry_run=dry_run)


@on_target
def restore(session: Session, epoch: Epoch, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Go back to a restore point of a running job, and read the stream again from there.

    As rollback does, with nothing left out. A job that does not run is started from a restore point
    by trilith train JOB.yaml --from EPOCH.

    \b
    Examples:
      ps-admin restore 1100 --dry-run
      ps-admin restore 1100 --yes
    """
    if session.running() is None:
        raise NothingRunsError(
            f"{session.store().why_nothing_answers()}, and trilith train JOB.yaml --from {epoch} "
            "from this restore point"
        )
    _go_back(session, epoch, {}, yes=yes, dry_run=dry_run)


def _go_back(session: Session, epoch: int, skips: Skips, *, yes: bool, dry_run: bool) -> None:
    job = session.job()
    asking = not dry_run and must_ask(yes=yes)
    if dry_run or asking:
        with waiting("reading what would change"):
            planned = job.rollback(epoch, skips, dry_run=True)
        if dry_run:
            session.show(planned, lambda: rollback_text(planned))
            return
        session.say(rollback_text(planned))
        ask("Go back?")
    with waiting(f"going back to epoch {epoch}"):
        done = job.rollback(epoch, skips, dry_run=False)
    session.show(done, lambda: rollback_text(done))


@on_target
def reshard(
    session: Session,
    shards: Annotated[int, typer.Option(min=1, max=1024, help="How many there are to be.")],
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Cut the model into another number of shards, exactly.

    A running job goes on with them after a short stop. On a store where nothing runs, a new restore
    point of so many bases is written, from which the next start goes on.

    \b
    Examples:
      ps-admin reshard --shards 4 -t 127.0.0.1:8600 --dry-run
      ps-admin reshard --shards 3 -t runs/clicks/store --yes
    """
    job = session.running()
    asking = not dry_run and must_ask(yes=yes)
    if dry_run or asking:
        planned = _reshard(session, shards, dry_run=True)
        if dry_run:
            session.show(planned, lambda: reshard_text(planned))
            return
        session.say(reshard_text(planned))
        ask("Stop training for it?" if job is not None else "Write it?")
    done = _reshard(session, shards, dry_run=False)
    session.show(done, lambda: reshard_text(done))


def _reshard(session: Session, shards: int, *, dry_run: bool) -> ReshardReport:
    job = session.running()
    with waiting(f"cutting {shards} shards") as step:
        if job is not None:
            return job.reshard(shards, dry_run=dry_run)
        return session.store().reshard(shards, dry_run=dry_run, on_progress=step)


@on_target
def failover(
    session: Session,
    shard: Annotated[
        int, typer.Argument(metavar="SHARD", min=0, help="Its number: see ps-admin status.")
    ],
) -> None:
    """Replace a shard by its standby, or by itself restored from the store where it has none.

    Nothing is lost: the stream is read again from where the new one stands. The old one is fenced:
    whatever it still sends is refused.

    \b
    Examples:
      ps-admin failover 1
      ps-admin failover 1 -t 127.0.0.1:8600 --json
    """
    job = session.job()
    with waiting(f"replacing shard {shard}"):
        done = job.failover(shard)
    session.show(done, lambda: failover_text(done))


@on_target
def pause(session: Session, what: WhatArgument) -> None:
    """Stop training, or publishing to the replicas; serving goes on with what it has.

    \b
    Examples:
      ps-admin pause training
      ps-admin pause publishing -t runs/clicks/store
    """
    name: Pausable = what.value
    job = session.job()
    with waiting(f"pausing {name}"):
        job.pause(name)
    session.show({"paused": name}, lambda: f"{name} is paused; ps-admin resume {name} goes on")


@on_target
def resume(session: Session, what: WhatArgument) -> None:
    """Go on with training, or publishing, after a pause.

    \b
    Examples:
      ps-admin resume training
      ps-admin resume publishing
    """
    name: Pausable = what.value
    session.job().resume(name)
    session.show({"resumed": name}, lambda: f"{name} goes on")


@on_target
def expire(session: Session) -> None:
    """Give back the memory of every row whose time is over, now rather than bit by bit.

    Such rows read as missing already: predictions do not change.

    \b
    Examples:
      ps-admin expire
      ps-admin expire --json | jq '.rows_expired.users'
    """
    job = session.job()
    with waiting("expiring"):
        freed = dict(job.expire())
    listed = ", ".join(f"{rows:,} of {table}" for table, rows in freed.items()) or "no table"
    session.show({"rows_expired": freed}, lambda: f"rows freed: {listed}")


def rollback_text(report: RollbackReport) -> str:
    """What a rollback does, or would do."""
    from ps.admin.cli import screen

    would = "would go" if report.dry_run else "went"
    skips, again = screen.skipped(report.skips), screen.skipped(report.learned_again)
    lines = [
        f"{would} back from epoch {report.from_epoch} to {report.to_epoch}",
        f"  replicas: {report.rows_changed:,} rows to change, {report.rows_removed:,} to remove",
        f"  stream: read again from {screen.positions(report.positions)}",
        f"  left out: {skips or 'nothing'}",
        *([f"  no longer left out: {again}"] if again else []),
        f"  goes on as epoch {report.epoch}, generation {report.generation}",
    ]
    if not report.dry_run:
        lines.append(f"  training stood still for {screen.seconds(report.seconds)}")
    return "\n".join(lines)


def reshard_text(report: ReshardReport) -> str:
    """What resharding does, or would do."""
    from ps.admin.cli import screen

    would = "would go" if report.dry_run else "went"
    took = "" if report.dry_run else f", in {screen.seconds(report.seconds)}"
    return (
        f"{would} from {report.shards_before} to {report.shards_after} shards with {report.rows:,} "
        f"rows, on as epoch {report.epoch}, generation {report.generation}{took}"
    )


def failover_text(report: FailoverReport) -> Any:
    """What a failover did."""
    from ps.admin.cli import screen

    source = "its standby" if report.source == "standby" else "what the store has of it"
    return (
        f"shard {report.shard} was replaced by {source}, at epoch {report.epoch}, generation "
        f"{report.generation}, in {screen.seconds(report.seconds)}; its stream is read again from "
        f"{screen.positions(report.positions)}"
    )
