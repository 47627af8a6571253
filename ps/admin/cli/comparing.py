"""ps-admin diff: what differs between two restore points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ps.admin.cli.options import on_target
from ps.admin.cli.session import Session  # noqa: TC001  # on_target reads it
from ps.admin.cli.waiting import waiting

if TYPE_CHECKING:
    from ps.store.diff import PointDiff

First = Annotated[str, typer.Argument(metavar="A", help="A restore point: EPOCH or NAME.")]
Second = Annotated[str, typer.Argument(metavar="B", help="Another.")]


@on_target
def diff(session: Session, a: First, b: Second) -> None:
    """What differs between two restore points: rows that came, left or changed, dense variables.

    Reads the store in this process, beside a job that writes to it.

    \b
    Examples:
      ps-admin diff 1100 1200 -t runs/clicks/store
      ps-admin diff before-launch 1200 -t s3://models/clicks --json
    """
    with waiting("comparing") as step:
        report = session.store().diff(a, b, on_progress=step)
    session.show(report, lambda: _rendered(report))


def _rendered(report: PointDiff) -> Any:
    from rich.console import Group
    from rich.text import Text

    from ps.admin.cli import screen
    from ps.admin.cli.panels import headed

    title = Text(f"epoch {report.before_epoch} to {report.after_epoch}", "bold").append(
        f"  event time {screen.instant(report.event_ts_us_before)} to "
        f"{screen.instant(report.event_ts_us_after)}",
        "not bold",
    )
    tables = headed(
        "table", "rows before", "after", "added", "removed", "changed", "largest change", "of fid"
    )
    for table in report.tables:
        tables.add_row(
            table.table,
            *map(
                screen.number,
                (table.rows_before, table.rows_after, table.added, table.removed, table.changed),
            ),
            screen.number(table.largest_change, 6),
            screen.UNKNOWN if table.largest_fid is None else screen.fid(table.largest_fid),
        )
    parts: list[Any] = [title, tables]
    if report.dense:
        dense = headed("dense variable", "", "largest change", left=2)
        for variable in report.dense:
            change = screen.number(variable.largest_change, 6)
            dense.add_row(variable.variable, variable.how, change)
        parts.append(dense)
    if report.positions:
        moved = headed("partition", "before", "after")
        for partition, (before, after) in report.positions.items():
            moved.add_row(partition, screen.number(before), screen.number(after))
        parts.append(moved)
    return Group(*parts)
