"""ps-admin inspect: one row, or one slot, of a running job or a store."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ps.admin.cli.options import TableName, on_target
from ps.admin.cli.session import Session  # noqa: TC001  # on_target reads it
from ps.admin.cli.waiting import waiting
from ps.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ps.inspected import InspectedRow, InspectedSlot

IDENTITY_BITS = 48
_LAST_FID = (1 << 64) - 1
_LAST_SLOT = (1 << 16) - 1
_LAST_IDENTITY = (1 << IDENTITY_BITS) - 1
_PAIR = re.compile(r"(\d+):(\d+)")
_WEIGHTS_SHOWN = 8

inspect_app = typer.Typer(
    help="One row, or one slot: row, metadata, admission count.", no_args_is_help=True
)

AtPoint = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="EPOCH|NAME",
        help="Of this restore point of the store; otherwise as it is now.",
        show_default=False,
    ),
]


@inspect_app.command("fid")
@on_target
def inspect_fid(
    session: Session,
    fid: Annotated[
        str, typer.Argument(metavar="FID|SLOT:IDENTITY", help="A fid, or its two parts.")
    ],
    table: TableName = None,
    at: AtPoint = None,
) -> None:
    """A fid's row: weights, optimizer state, last seen, when it expires, how often it was counted.

    Without a row, the weights are as a pull reads them (from a store: none, where a pull would draw
    them). SLOT:IDENTITY is an integer of a slot, as 3:42; the fid of a text is what
    model.fids.fid(3, "text") gives. Of a store where nothing runs, or with --at, it is read from a
    restore point.

    \b
    Examples:
      ps-admin inspect fid 3:42
      ps-admin inspect fid 844424930131010 --table users --json
      ps-admin inspect fid 3:42 --at 1100 -t runs/clicks/store
    """
    number = fid_of(fid)
    job = session.running() if at is None else None
    with waiting("reading"):
        if job is not None:
            rows = job.inspect_fid(number, table)
        else:
            rows = session.store().inspect_fid(number, table, at=at)
    answer = {"rows": [row_object(row) for row in rows]}
    session.show(answer, lambda: _rows_rendered(rows))


@inspect_app.command("slot")
@on_target
def inspect_slot(
    session: Session,
    slot: Annotated[int, typer.Argument(metavar="SLOT", min=0, max=_LAST_SLOT, help="Its number.")],
    table: TableName = None,
    rows: Annotated[
        int, typer.Option(min=0, max=10_000, help="How many of its rows to show.")
    ] = 10,
    at: AtPoint = None,
) -> None:
    """A slot's rows: how many, when they were seen first and last, and those seen last.

    \b
    Examples:
      ps-admin inspect slot 3
      ps-admin inspect slot 3 --rows 100 --json
      ps-admin inspect slot 3 --at 1100 -t runs/clicks/store
    """
    job = session.running() if at is None else None
    with waiting("looking through the rows"):
        if job is not None:
            slots = job.inspect_slot(slot, table, rows)
        else:
            slots = session.store().inspect_slot(slot, table, rows, at=at)
    answer = {
        "slots": [
            {**asdict(found), "examples": [row_object(row) for row in found.examples]}
            for found in slots
        ]
    }
    session.show(answer, lambda: _slots_rendered(slots))


def fid_of(text: str) -> int:
    """An integer, or SLOT:IDENTITY with an integer of less than 48 bits. Raises SpecError."""
    if text.isascii() and text.isdigit():
        if int(text) <= _LAST_FID:
            return int(text)
    elif (pair := _PAIR.fullmatch(text)) is not None and text.isascii():
        slot, identity = int(pair[1]), int(pair[2])
        if slot <= _LAST_SLOT and identity <= _LAST_IDENTITY:
            return slot << IDENTITY_BITS | identity
    raise SpecError(
        f"{text!r} is no fid: give an integer of 64 bits, or SLOT:INTEGER as 3:42. For a text, "
        """python -c 'from model.fids import fid; print(fid(3, "text"))' prints its fid"""
    )


def row_object(row: InspectedRow) -> dict[str, Any]:
    """A row as JSON has it; identity: the fid without its slot, which any reader of JSON can hold."""
    return {**asdict(row), "identity": row.fid & _LAST_IDENTITY}


def _rows_rendered(rows: Sequence[InspectedRow]) -> Any:
    from ps.admin.cli.panels import headed

    if not rows:
        return "no table knows its slot"
    table = headed(
        "table", "fid", "state", "shard", "last seen", "expires", "counted", "weights", "optimizer",
        left=3,
    )  # fmt: skip
    for row in rows:
        table.add_row(*_cells(row))
    for column in table.columns[-2:]:
        column.justify = "left"
    return table


def _cells(row: InspectedRow) -> list[str]:
    from ps.admin.cli import screen

    return [
        row.table,
        f"{row.slot}:{row.fid & _LAST_IDENTITY}",
        "row" if row.present else "no row",
        str(row.shard),
        screen.instant(None if row.last_seen_s is None else row.last_seen_s * 1_000_000),
        screen.instant(None if row.expires_s is None else row.expires_s * 1_000_000),
        screen.number(row.occurrences),
        _floats(row.weights),
        _floats(row.state),
    ]


def _floats(values: Sequence[float]) -> str:
    shown = " ".join(f"{value:.4g}" for value in values[:_WEIGHTS_SHOWN])
    left = len(values) - _WEIGHTS_SHOWN
    return f"{shown} and {left} more" if left > 0 else shown


def _slots_rendered(slots: Sequence[InspectedSlot]) -> Any:
    from rich.console import Group
    from rich.text import Text

    from ps.admin.cli import screen

    if not slots:
        return "no table has that slot"
    parts: list[Any] = []
    for slot in slots:
        oldest, newest = (
            screen.instant(None if seen is None else seen * 1_000_000)
            for seen in (slot.oldest_seen_s, slot.newest_seen_s)
        )
        parts.append(
            Text(f"slot {slot.slot} of {slot.table}", "bold").append(
                f"  {slot.settings}; {slot.rows:,} rows, last seen from {oldest} to {newest}",
                "not bold",
            )
        )
        if slot.examples:
            parts.append(_rows_rendered(slot.examples))
    return Group(*parts)
