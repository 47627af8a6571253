"""ps-admin snapshot create, list, verify, prune, export, delete: the restore points of a job or a store."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ps.admin.cli.amounts import seconds_of, size_of
from ps.admin.cli.confirm import ask, must_ask
from ps.admin.cli.exits import DamageFoundError
from ps.admin.cli.options import DryRun, Yes, on_target
from ps.admin.cli.session import Session  # noqa: TC001  # on_target reads it
from ps.admin.cli.waiting import waiting
from ps.clock import SystemClock
from ps.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ps.admin.reports import ExportReport, SnapshotDeletion, VerifyReport
    from ps.admin.target import PruneReport, RestorePoint

snapshot_app = typer.Typer(
    help="Restore points: make, list, verify, prune, export, delete.", no_args_is_help=True
)

# Damaged files are listed one by one up to here; --json has all.
_SHOWN = 20
# Where the stream stood, in a table; --json has all partitions.
_PARTITIONS_SHOWN = 2


@snapshot_app.command("create")
@on_target
def create(
    session: Session,
    name: Annotated[
        str | None,
        typer.Argument(
            help="Letters, digits, dots, dashes; the time, where none is given.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make a restore point of a running job now, all shards at one position, and keep it.

    Training waits for one batch at the most. Retention leaves it alone.

    \b
    Examples:
      ps-admin snapshot create before-launch
      ps-admin snapshot create -t runs/clicks/store --json
    """
    job = session.job()
    called = name if name is not None else _name_of(SystemClock().now_us())
    with waiting("sealing and committing"):
        point = job.create_snapshot(called)
    session.show(point, lambda: _snapshot_text(called, point))


@snapshot_app.command("list")
@on_target
def list_(session: Session) -> None:
    """The restore points, oldest first: epoch, age, rows, what there is to read, where the stream
    stood, snapshot names.

    \b
    Examples:
      ps-admin snapshot list -t 127.0.0.1:8600
      ps-admin snapshot list -t s3://models/clicks
      ps-admin snapshot list -t runs/clicks/store --json | jq '.restore_points[-1].epoch'
    """
    job = session.running()
    with waiting("listing"):
        points = job.restore_points() if job is not None else session.store().restore_points()
    answer = {"restore_points": [asdict(point) for point in points]}
    session.show(answer, lambda: _points_rendered(points))


@snapshot_app.command("verify")
@on_target
def verify(
    session: Session,
    which: Annotated[
        str | None,
        typer.Argument(
            metavar="[EPOCH|NAME]",
            help="One restore point; all of them, where none is given.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Read every file a restore point needs, and check every byte of it.

    The store is read by this process, beside a job that writes to it. Ends with 5 where a file is
    missing, cut short, altered, or another file under its name; each is named.

    \b
    Examples:
      ps-admin snapshot verify -t runs/clicks/store
      ps-admin snapshot verify before-launch -t s3://models/clicks
      ps-admin snapshot verify -t runs/clicks/store --json | jq .damaged
    """
    with waiting("verifying") as step:
        report = session.store().verify(which, on_progress=step)
    session.show(report, lambda: _verify_text(report))
    if report.damaged or not all(point.whole for point in report.restore_points):
        raise DamageFoundError("damage was found")


@snapshot_app.command("prune")
@on_target
def prune(
    session: Session,
    keep_points: Annotated[
        int | None,
        typer.Option("--keep-points", min=1, help="Keep the latest N.", show_default=False),
    ] = None,
    keep_age_s: Annotated[
        float | None,
        typer.Option(
            "--keep-age",
            parser=seconds_of,
            metavar="TIME",
            help="Keep those not older: 90s, 1h, 7d.",
            show_default=False,
        ),
    ] = None,
    keep_bytes: Annotated[
        int | None,
        typer.Option(
            "--keep-bytes",
            parser=size_of,
            metavar="SIZE",
            help="Keep the latest within: 20GiB, 500MB.",
            show_default=False,
        ),
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Delete the restore points that are no longer kept, and files that nothing needs.

    A running job goes by its own settings (store.keep). For a store where nothing runs, say what to
    keep; without, only files that no restore point needs are deleted. The latest restore point and
    snapshots always stay.

    \b
    Examples:
      ps-admin snapshot prune -t 127.0.0.1:8600 --dry-run
      ps-admin snapshot prune -t runs/clicks/store --keep-points 10 --dry-run
      ps-admin snapshot prune -t runs/clicks/store --keep-age 1h --keep-bytes 20GiB --yes
    """
    keep = (keep_points, keep_age_s, keep_bytes)
    asking = not dry_run and must_ask(yes=yes)
    if dry_run or asking:
        planned = _prune(session, keep, dry_run=True)
        if dry_run:
            session.show(planned, lambda: prune_text(planned))
            return
        session.say(prune_text(planned))
        ask("Delete them?")
    done = _prune(session, keep, dry_run=False)
    session.show(done, lambda: prune_text(done))


def _prune(
    session: Session, keep: tuple[int | None, float | None, int | None], *, dry_run: bool
) -> PruneReport:
    job = session.running()
    with waiting("looking for what may go" if dry_run else "deleting"):
        if job is None:
            points, age_s, n_bytes = keep
            return session.store().prune(points, age_s, n_bytes, dry_run=dry_run)
        if any(limit is not None for limit in keep):
            raise SpecError(
                "a running job keeps what its job file says (store.keep); leave out --keep-points, "
                "--keep-age and --keep-bytes, or stop it first"
            )
        return job.prune(dry_run=dry_run)


@snapshot_app.command("export")
@on_target
def export(
    session: Session,
    which: Annotated[str, typer.Argument(metavar="EPOCH|NAME", help="The restore point.")],
    destination: Annotated[
        str, typer.Argument(metavar="STORE", help="Where to: an empty folder or URL.")
    ],
) -> None:
    """Copy a restore point elsewhere as a store of its own, and verify the copy.

    \b
    Examples:
      ps-admin snapshot export before-launch s3://backup/clicks -t runs/clicks/store
      ps-admin snapshot export 1200 /mnt/usb/clicks -t 127.0.0.1:8600
    """
    with waiting("copying") as step:
        report = session.store().export(which, destination, on_progress=step)
    session.show(report, lambda: _export_text(report))


@snapshot_app.command("delete")
@on_target
def delete(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The snapshot's.")],
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Let a snapshot go: from then on, pruning may delete its restore point.

    \b
    Examples:
      ps-admin snapshot delete before-launch --dry-run
      ps-admin snapshot delete before-launch -t runs/clicks/store --yes
    """
    asking = not dry_run and must_ask(yes=yes)
    if dry_run or asking:
        planned = session.store().delete_snapshot(name, dry_run=True)
        if dry_run:
            session.show(planned, lambda: _deletion_text(planned))
            return
        session.say(_deletion_text(planned))
        ask("Let it go?")
    done = session.store().delete_snapshot(name, dry_run=False)
    session.show(done, lambda: _deletion_text(done))


def _name_of(now_us: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(now_us / 1e6, UTC).strftime("at-%Y%m%dT%H%M%SZ")


def _snapshot_text(called: str, point: RestorePoint) -> str:
    from ps.admin.cli import screen

    rows, shards = screen.count(point.rows, "row"), screen.count(point.shards, "shard")
    return f"snapshot {called}: epoch {point.epoch}, {rows} on {shards}"


def _points_rendered(points: Sequence[RestorePoint]) -> Any:
    from ps.admin.cli import screen
    from ps.admin.cli.panels import headed

    if not points:
        return "no restore points"
    table = headed(
        "epoch", "generation", "committed", "event time", "shards", "rows", "to read", "aligned",
        "positions", "snapshot", left=0,
    )  # fmt: skip
    for column in table.columns[-2:]:
        column.justify = "left"
    for point in points:
        table.add_row(
            str(point.epoch),
            str(point.generation),
            screen.instant(point.created_us),
            screen.instant(point.event_ts_us),
            str(point.shards),
            screen.number(point.rows),
            screen.size(point.bytes_to_read),
            "yes" if point.aligned else "no",
            screen.positions(point.positions, _PARTITIONS_SHOWN),
            point.pinned_by or "",
        )
    return table


def _verify_text(report: VerifyReport) -> str:
    from ps.admin.cli import screen

    points = report.restore_points
    whole = sum(point.whole for point in points)
    summary = (
        f"{screen.count(report.files, 'file')}, {screen.size(report.bytes)} read; {whole:,} of "
        f"{len(points):,} restore points can be restored"
    )
    if report.newest_whole_epoch is not None and whole < len(points):
        summary += f", the newest of them epoch {report.newest_whole_epoch}"
    shown = report.damaged[:_SHOWN]
    lines = [summary, *(f"  {file.name}: {file.fault}" for file in shown)]
    if len(report.damaged) > _SHOWN:
        lines.append(f"  and {len(report.damaged) - _SHOWN} more; --json lists them all")
    if report.unneeded:
        n = len(report.unneeded)
        lines.append(
            f"{screen.count(n, 'file')} {'is' if n == 1 else 'are'} needed by no restore point; "
            f"ps-admin prune deletes {'it' if n == 1 else 'them'}"
        )
    if report.strangers:
        n = len(report.strangers)
        lines.append(
            f"{screen.count(n, 'file')} {'is' if n == 1 else 'are'} no store's: "
            f"{report.strangers[0]}{' and others' if n > 1 else ''}"
        )
    return "\n".join(lines)


def prune_text(report: PruneReport) -> str:
    """What pruning deletes, or would delete."""
    from ps.admin.cli import screen

    would = "would delete" if report.dry_run else "deleted"
    epochs = report.restore_points
    which = f" (epochs {epochs[0]} to {epochs[-1]})" if epochs else ""
    if len(epochs) == 1:
        which = f" (epoch {epochs[0]})"
    return (
        f"{would} {screen.count(len(epochs), 'restore point')}{which} and "
        f"{screen.count(report.files, 'file')}, {screen.size(report.bytes)}"
    )


def _deletion_text(report: SnapshotDeletion) -> str:
    would = "would let go" if report.dry_run else "let go"
    kept = "which is damaged" if report.epoch is None else f"of epoch {report.epoch}"
    return f"{would} snapshot {report.snapshot}, {kept}"


def _export_text(report: ExportReport) -> str:
    from ps.admin.cli import screen

    return (
        f"epoch {report.epoch} copied to {report.destination}: "
        f"{screen.count(report.files, 'file')}, {screen.size(report.bytes)}, verified"
    )
