"""The demo in small: all its figures, its report, and what becomes of it without answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from cluster.cli.app import app
from cluster.demo.comparison import Comparison
from cluster.demo.page import demo_page
from cluster.demo.run import Seen
from cluster.demo.summary import summarise
from cluster.progress import RunProgress
from cluster.report import render_page
from model.batch import Batch
from ps.clock import ManualClock
from ps.stream import Span
from tests.cluster.test_report import check_self_contained
from worker.events import EventChunk

if TYPE_CHECKING:
    from pathlib import Path

# The keys that scripts rely on.
KEYS = {
    "examples",
    "examples_per_s",
    "auc",
    "oracle_auc",
    "log_loss",
    "normalized_entropy",
    "calibration",
    "staleness_p50_s",
    "staleness_p99_s",
    "rows",
    "rows_admitted",
    "rows_expired",
    "predict_p50_ms",
    "predict_p99_ms",
    "predict_errors",
    "last_quarter_auc",
    "last_quarter_oracle_auc",
}


def test_the_demo_learns_serves_and_reports(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["demo", "--seconds", "2", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "the oracle's" in result.output
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary.keys() >= KEYS
    assert all(isinstance(summary[key], int | float) for key in KEYS)
    assert summary["examples"] > 0
    assert summary["predict_requests"] > 0
    assert summary["predict_errors"] == 0
    assert summary["rows"] == summary["rows_admitted"] - summary["rows_expired"]
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    check_self_contained(html)
    assert html.count("<svg") == 8
    assert "nothing was measured" not in html


def learned(n: int, rng: np.random.Generator, at: int) -> tuple[EventChunk, Batch]:
    span = Span("p", at, at + n)
    truth = rng.uniform(size=n)
    columns = pa.RecordBatch.from_pydict({"true_probability": pa.array(truth)})
    labels = (rng.uniform(size=n) < truth).astype(np.float32)
    batch = Batch(n, {}, np.zeros((n, 0), np.float32), np.zeros(n, np.int64), labels, span=span)
    return EventChunk(span, np.arange(at, at + n), columns), batch


def test_the_last_quarter_is_the_latest_quarter_of_the_examples() -> None:
    clock, rng = ManualClock(), np.random.default_rng(5)
    comparison = Comparison(clock)
    for second in range(8):
        chunk, batch = learned(1_000, rng, second * 1_000)
        truth = chunk.columns.column("true_probability").to_numpy().astype(np.float32)
        # A model that knows nothing at first, and everything from the middle on.
        comparison.observe(chunk, batch, truth if second >= 4 else np.full(1_000, 0.5, np.float32))
        clock.advance_s(1.0)
    assert [second.at_s for second in comparison.seconds] == [1, 2, 3, 4, 5, 6, 7, 8]
    quarter = comparison.last_quarter()
    assert quarter.examples == 2_000
    assert quarter.model.totals() == quarter.oracle.totals()
    totals = comparison.totals()
    assert totals.examples == 8_000
    model, oracle = totals.model.totals().auc, totals.oracle.totals().auc
    assert model is not None
    assert oracle is not None
    assert model < oracle


@pytest.mark.parametrize("seconds", [0, 1])
def test_a_run_that_saw_nothing_still_has_a_report(seconds: int) -> None:
    final = RunProgress(
        *(float(seconds), 0, None, 0, None, None, None, None, None, None, 0, 0, 0, 1, None, None)
    )
    seen = Seen(final, (final,) * seconds, Comparison(ManualClock()), (), {}, 2)
    summary = summarise(seen)
    assert summary.keys() >= KEYS
    assert summary["auc"] is None
    check_self_contained(render_page(demo_page(seen, summary, "nowhere")))
