"""Telling a person how a run is going, on lines."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from cluster.cli.reporter import LineReporter
from cluster.progress import RunProgress


def test_lines_go_on_where_the_time_begins_anew() -> None:
    out = io.StringIO()
    reporter = LineReporter(Console(file=out, width=200))
    for elapsed_s in (0.0, 1.0, 100.0, 104.0, 0.5, 2.0, 6.0):  # 0.5: a coordinator that took over
        reporter.progress(progress_at(elapsed_s))
    told = [float(line.split()[0]) for line in out.getvalue().splitlines()]
    assert told == [0.0, 100.0, 0.5, 6.0]


def test_the_end_is_told_once() -> None:
    out = io.StringIO()
    reporter = LineReporter(Console(file=out, width=200))
    for elapsed_s in (0.0, 1.0, 1.2, 30.0):
        reporter.progress(replace(progress_at(elapsed_s), finished=elapsed_s >= 1.0))
    told = [float(line.split()[0]) for line in out.getvalue().splitlines()]
    assert told == [0.0, 1.0]


def progress_at(elapsed_s: float) -> RunProgress:
    return RunProgress(
        elapsed_s=elapsed_s,
        examples=1,
        examples_per_s=None,
        event_ts_us=0,
        auc=None,
        log_loss=None,
        normalized_entropy=None,
        calibration=None,
        window_auc=None,
        window_log_loss=None,
        rows=0,
        rows_admitted=0,
        rows_expired=0,
        epoch=0,
        staleness_p50_s=None,
        staleness_p99_s=None,
    )
