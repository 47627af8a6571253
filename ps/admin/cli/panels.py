"""A job at a glance, painted: what status prints and top paints over and over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.columns import Columns
from rich.console import Group
from rich.constrain import Constrain
from rich.table import Table
from rich.text import Text

from ps.admin.cli import screen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from ps.admin.target import JobStatus, ReplicaStatus, ShardStatus, StoreStatus

_REASONS_SHOWN = 5
_FIGURES_COLUMNS = 80


def status_panel(status: JobStatus) -> RenderableType:
    """The whole status."""
    parts: list[RenderableType] = [_title(status), _figures(status)]
    if status.shards:
        parts.append(shards_table(status.shards))
    if status.replicas:
        parts.append(_replicas_table(status.replicas))
    parts += _notes(status)
    return Group(*parts)


def headed(*columns: str, left: int = 1) -> Table:
    """A table of these columns: the first `left` of them text, the others numbers."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i < left else "right", overflow="fold")
    return table


def shards_table(shards: Sequence[ShardStatus]) -> Table:
    """A row for each shard."""
    table = headed(
        "shard", "rows", "memory", "epoch", "generation", "standby at", "pushes", "repeated",
        "positions", left=0,
    )  # fmt: skip
    table.columns[-1].justify = "left"
    for shard in shards:
        table.add_row(
            str(shard.shard),
            screen.number(shard.rows),
            screen.size(shard.allocated_bytes),
            screen.number(shard.epoch),
            str(shard.generation),
            screen.number(shard.standby_epoch),
            screen.number(shard.pushes_applied),
            screen.number(shard.pushes_repeated),
            screen.positions(shard.positions),
        )
    return table


def _title(status: JobStatus) -> Text:
    title = Text()
    title.append(status.job, "bold")
    good = status.state in ("training", "finished") and not status.paused
    title.append(f"  {status.state}", "bold green" if good else "bold yellow")
    if status.paused:
        what = " and ".join(status.paused)
        is_said = status.state == "paused"
        title.append(f" ({what})" if is_said else f" ({what} paused)", "bold yellow")
    up_s = (status.now_us - status.started_us) / 1e6
    title.append(
        f"  model {status.model}, trilith {status.version}, pid {status.pid} on {status.host}, "
        f"up {screen.span(up_s)}",
        "dim",
    )
    return title


def _figures(status: JobStatus) -> RenderableType:
    """In as many columns as a small terminal has room for."""
    cells = [
        ("examples", screen.number(status.examples)),
        ("rate", f"{screen.number(status.examples_per_s)}/s"),
        ("event time", screen.instant(status.event_ts_us)),
        ("epoch", screen.number(status.epoch)),
        ("generation", screen.number(status.generation)),
    ]
    cells += [
        (name.replace("_", " "), screen.number(value, 4)) for name, value in status.metrics.items()
    ]
    texts = [Text.assemble((f"{label} ", "dim"), (value, "bold")) for label, value in cells]
    return Constrain(Columns(texts, padding=(0, 2)), _FIGURES_COLUMNS)


def _replicas_table(replicas: Sequence[ReplicaStatus]) -> Table:
    table = headed("replica", "state", "rows", "epochs", "age", "staleness p50", "p99", left=2)
    for replica in replicas:
        state = "ready" if replica.ready else "not ready"
        table.add_row(
            replica.address,
            state if replica.last_error is None else f"{state}: {replica.last_error}",
            screen.number(replica.rows),
            " ".join(map(str, replica.epochs)) or screen.UNKNOWN,
            screen.seconds(replica.age_s),
            screen.seconds(replica.staleness_p50_s),
            screen.seconds(replica.staleness_p99_s),
        )
    return table


def _notes(status: JobStatus) -> list[RenderableType]:
    """What does not fit into figures: the store, what was left out and why."""
    notes = [_store_note(status.store, status.now_us)]
    if status.skips:
        notes.append(Text(f"left out after rollbacks: {screen.skipped(status.skips)}"))
    if status.quarantined:
        total = sum(status.quarantined.values())
        worst = sorted(status.quarantined.items(), key=lambda item: -item[1])[:_REASONS_SHOWN]
        reasons = "; ".join(f"{count:,} × {reason}" for reason, count in worst)
        notes.append(Text(f"quarantined: {total:,} ({reasons})"))
    return list(notes)


def _store_note(store: StoreStatus | None, now_us: int) -> Text:
    if store is None:
        return Text("store: none, so there is nothing to go back to", "yellow")
    note = Text(f"store {store.url}: ")
    note.append(store.state, "green" if store.state == "ok" else "yellow")
    if store.committed_epoch is None or store.committed_us is None:
        note.append(", nothing committed yet")
    else:
        age_s = max((now_us - store.committed_us) / 1e6, 0.0)
        note.append(f", epoch {store.committed_epoch:,} committed {screen.span(age_s)} ago")
    points = screen.count(store.restore_points, "restore point")
    note.append(f", {points} in {screen.size(store.stored_bytes)}")
    if store.waiting_blocks:
        # One that is on its way is no cause for worry.
        epochs = screen.count(store.waiting_blocks, "epoch")
        note.append(
            f", {epochs} ({screen.size(store.waiting_bytes)}) to be saved",
            "" if store.state == "ok" else "yellow",
        )
    if store.compacting:
        note.append(", compacting")
    if store.last_error is not None:
        note.append(f"\n  {store.last_error}", "yellow")
    return note
