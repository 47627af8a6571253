"""trilith demo: the whole loop in one process for a minute, and a report of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.cli.exits import exit_codes
from cluster.cli.train import Quiet  # noqa: TC001  # typer reads it

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cluster.demo.run import Seen
    from cluster.demo.summary import Number


def demo(
    seconds: Annotated[float, typer.Option(min=2.0, help="How long to train.")] = 60.0,
    out: Annotated[Path, typer.Option(help="Where summary.json and report.html go.")] = Path(
        "runs/demo"
    ),
    quiet: Quiet = False,
) -> None:
    """Stream, training, sync, two replicas and real gRPC calls, in one process.

    A synthetic click log is learned from at full speed while two replicas serve and a client asks.
    Since the true click probabilities are known, the model is compared with an oracle. Ends with a
    summary, summary.json and a report.html that stands by itself.

    \b
    Examples:
      trilith demo
      trilith demo --seconds 20 --out runs/short
    """
    with exit_codes("demo"):
        code = _demo(seconds, out, quiet)
    raise typer.Exit(code)


def _demo(seconds: float, out: Path, quiet: bool) -> int:
    from rich.console import Console

    from cluster.cli.reporter import reporting
    from cluster.cli.running import compile_kernels
    from cluster.cli.signals import StopOnSignal
    from cluster.demo.job import demo_plan
    from cluster.demo.rehearsal import rehearse
    from cluster.demo.run import run_demo
    from cluster.demo.summary import summarise
    from ps.clock import SystemClock

    quarantine = out / "quarantine.jsonl"
    out.mkdir(parents=True, exist_ok=True)
    quarantine.unlink(missing_ok=True)  # of an earlier run, which would be gone on with
    plan, clock = demo_plan(quarantine), SystemClock()
    with StopOnSignal() as signals:
        with reporting(f"demo, {seconds:g} s", quiet=quiet) as reporter:
            compile_kernels(plan, reporter)
            reporter.step("rehearsing")
            rehearse(plan, clock)
            seen = run_demo(
                plan,
                seconds=seconds,
                clock=clock,
                stop=signals.stop,
                on_start=lambda addresses, admin: reporter.say(
                    f"serving on {', '.join(addresses)}; ps-admin reaches it at {admin}"
                ),
                on_progress=reporter.progress,
            )
            reporter.step("writing the report")
            summary = summarise(seen)
            report = _write(out, seen, summary)
        console = Console()
        console.print(_summary_table(summary, seen.errors))
        console.print(f"report: {report}", highlight=False)
        return signals.exit_code


def _write(out: Path, seen: Seen, summary: Mapping[str, Number]) -> Path:
    """summary.json and report.html; returns the latter."""
    import json

    from cluster.demo.page import demo_page
    from cluster.report import render_page

    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    report = out / "report.html"
    report.write_text(render_page(demo_page(seen, summary, _machine())), encoding="utf-8")
    return report


def _machine() -> str:
    import os
    import platform

    return f"Run on {os.cpu_count()} cores, Python {platform.python_version()}"


def _summary_table(summary: Mapping[str, Number], errors: Mapping[str, int]) -> Any:
    from rich.table import Table

    from cluster.cli import figures

    table = Table(title="demo", title_justify="left", show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    table.add_row("examples", f"{summary['examples']:,}")
    table.add_row("examples/s", f"{summary['examples_per_s']:,.0f}")
    for label, name in (
        ("progressive AUC", "auc"),
        ("the oracle's", "oracle_auc"),
        ("last quarter's AUC", "last_quarter_auc"),
        ("the oracle's", "last_quarter_oracle_auc"),
        ("progressive log loss", "log_loss"),
        ("normalized entropy", "normalized_entropy"),
        ("calibration", "calibration"),
    ):
        table.add_row(label, figures.metric(summary[name]))
    table.add_row("staleness p50", figures.seconds(summary["staleness_p50_s"]))
    table.add_row("staleness p99", figures.seconds(summary["staleness_p99_s"]))
    for label, name in (
        ("rows", "rows"),
        ("rows admitted", "rows_admitted"),
        ("rows expired", "rows_expired"),
        ("records quarantined", "quarantined"),
        ("predict requests", "predict_requests"),
    ):
        table.add_row(label, f"{summary[name]:,}")
    table.add_row("predict p50", f"{figures.metric(summary['predict_p50_ms'], 2)} ms")
    table.add_row("predict p99", f"{figures.metric(summary['predict_p99_ms'], 2)} ms")
    table.add_row("predict errors", f"{summary['predict_errors']:,}")
    for name, count in errors.items():
        table.add_row(f"  {name}", f"{count:,}")
    return table
