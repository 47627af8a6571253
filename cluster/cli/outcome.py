"""What a run came to, for people and for scripts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from cluster.cli import figures

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.progress import RunProgress
    from worker.metrics.progressive import ProgressiveMetrics

_REASONS_SHOWN = 5


def outcome(
    name: str, progress: RunProgress, metrics: ProgressiveMetrics, digest: str | None
) -> dict[str, Any]:
    """Everything of interest as plain values; numbers of the whole run stand at the top."""
    totals = metrics.totals()
    found: dict[str, Any] = {
        "job": name,
        "elapsed_s": progress.elapsed_s,
        "examples": progress.examples,
        "examples_before": progress.examples_before,
        "examples_per_s": (progress.examples - progress.examples_before)
        / max(progress.elapsed_s, 1e-9),
        "click_rate": totals.click_rate,
        "auc": totals.auc,
        "log_loss": totals.log_loss,
        "normalized_entropy": totals.normalized_entropy,
        "calibration": totals.calibration,
        "rows": progress.rows,
        "rows_admitted": progress.rows_admitted,
        "rows_expired": progress.rows_expired,
        "batches_dropped": progress.batches_dropped,
        "quarantined": sum(progress.quarantined.values()),
        "event_ts_us": progress.event_ts_us,
        "quarantined_by_reason": dict(progress.quarantined),
        "windows": [
            {"begin_us": window.begin_us, "end_us": window.end_us, **window.metrics.to_dict()}
            for window in metrics.windows()
        ],
        "groups": {
            column: {value: found.to_dict() for value, found in metrics.groups(column).items()}
            for column in metrics.spec.group_by
        },
    }
    if digest is not None:
        found["digest"] = digest
    return found


def show_outcome(found: dict[str, Any], json_file: Path | None) -> None:
    """Print what a run came to, and write it where that is wanted."""
    if json_file is not None:
        write_json(json_file, found)
    console = Console()
    for table in (outcome_table(found), *group_tables(found)):
        console.print(table)


def write_json(file: Path, found: dict[str, Any]) -> None:
    """Write an outcome; the folder is made where it is missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def outcome_table(found: dict[str, Any]) -> Table:
    """The figures of a run, one a row."""
    table = Table(title=str(found["job"]), title_justify="left", show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    table.add_row("examples", f"{found['examples']:,}")
    if found["examples_before"]:
        table.add_row("  of earlier runs", f"{found['examples_before']:,}")
    table.add_row("time", figures.span(found["elapsed_s"]))
    table.add_row("examples/s", f"{found['examples_per_s']:,.0f}")
    table.add_row("progressive AUC", figures.metric(found["auc"]))
    table.add_row("progressive log loss", figures.metric(found["log_loss"]))
    table.add_row("normalized entropy", figures.metric(found["normalized_entropy"]))
    table.add_row("calibration", figures.metric(found["calibration"]))
    table.add_row("rows", f"{found['rows']:,}")
    table.add_row("rows admitted", f"{found['rows_admitted']:,}")
    table.add_row("rows expired", f"{found['rows_expired']:,}")
    table.add_row("records quarantined", f"{found['quarantined']:,}")
    reasons = list(found["quarantined_by_reason"].items())
    for reason, count in reasons[:_REASONS_SHOWN]:
        table.add_row(f"  {reason}", f"{count:,}")
    if len(reasons) > _REASONS_SHOWN:
        rest = sum(count for _, count in reasons[_REASONS_SHOWN:])
        table.add_row(f"  {len(reasons) - _REASONS_SHOWN} other reasons", f"{rest:,}")
    if found["batches_dropped"]:
        table.add_row("batches dropped", f"{found['batches_dropped']:,}")
    if "digest" in found:
        table.add_row("digest", found["digest"])
    return table


def group_tables(found: dict[str, Any]) -> list[Table]:
    """Metrics by value, a table for each column of group_by."""
    tables = []
    for column, groups in found["groups"].items():
        table = Table(title=f"by {column}", title_justify="left")
        table.add_column(column)
        for heading in ("examples", "click rate", "AUC", "log loss", "calibration"):
            table.add_column(heading, justify="right")
        for value, metrics in groups.items():
            table.add_row(
                value,
                f"{metrics['examples']:,}",
                figures.metric(metrics["click_rate"], 3),
                figures.metric(metrics["auc"]),
                figures.metric(metrics["log_loss"]),
                figures.metric(metrics["calibration"], 3),
            )
        tables.append(table)
    return tables
