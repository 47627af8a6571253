"""ps-admin status, top, tables: what a running job is doing."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ps.admin.cli.options import on_target
from ps.admin.cli.session import Session  # noqa: TC001  # on_target reads it

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ps.admin.target import TableStatus


@on_target
def status(session: Session) -> None:
    """The job at a glance: progress, metrics, shards, replicas, store.

    Of a store where nothing runs it says so, and who wrote to it last (exit code 3).

    \b
    Examples:
      ps-admin status -t 127.0.0.1:8600
      ps-admin status -t runs/clicks/store
      TRILITH_TARGET=s3://models/clicks ps-admin status --json | jq .epoch
    """
    found = session.job().status()

    def render() -> Any:
        from ps.admin.cli.panels import status_panel

        return status_panel(found)

    session.show(found, render)


@on_target
def top(
    session: Session,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, as status does.")] = False,
) -> None:
    """The same, live; q or Ctrl-C ends it. Goes on when the job is away for a while.

    Where standard output is no terminal, or with --json, it looks once.

    \b
    Examples:
      ps-admin top -t 127.0.0.1:8600
      ps-admin top -t runs/clicks/store --interval 0.5
    """
    from ps.admin.cli.panels import status_panel

    job = session.job()
    found = job.status()
    if once or session.as_json or not sys.stdout.isatty():
        session.show(found, lambda: status_panel(found))
        return
    from ps.admin.cli.live import watch

    watch(job, found, interval)


@on_target
def tables(session: Session) -> None:
    """Every table: shape, rows by shard, what came and went, memory, its slots.

    \b
    Examples:
      ps-admin tables -t 127.0.0.1:8600
      ps-admin tables -t 127.0.0.1:8600 --json | jq '.tables[] | {name, rows}'
    """
    found = session.job().tables()
    session.show({"tables": [asdict(table) for table in found]}, lambda: _rendered(found))


def _rendered(tables: Sequence[TableStatus]) -> Any:
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    from ps.admin.cli import screen
    from ps.admin.cli.panels import headed

    parts: list[Any] = []
    for table in tables:
        capacity = "" if table.capacity_rows is None else f" of at most {table.capacity_rows:,}"
        heading = Text(table.name, "bold").append(
            f"  {table.width} weights + {table.state_width} floats of state, {table.row_bytes} bytes "
            f"a row; {table.optimizer}; starts {table.initializer}",
            "not bold",
        )
        counts = (
            f"{table.rows:,} rows{capacity} (by shard: "
            f"{', '.join(f'{rows:,}' for rows in table.rows_by_shard)}) in "
            f"{screen.size(table.allocated_bytes)}; {table.rows_admitted:,} admitted, "
            f"{table.rows_expired:,} expired, {table.rows_evicted:,} evicted, "
            f"{table.occurrences_refused:,} occurrences refused"
        )
        slots = headed("slot", "settings", left=2)
        for slot, settings in table.slots.items():
            slots.add_row(str(slot), settings)
        parts += [heading, Padding(Text(counts), (0, 2)), Padding(slots, (0, 2))]
    return Group(*parts)
