"""The demo's report: what was seen of a run, as plots and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.demo.job import JOB_TEXT
from cluster.demo.plots import STALENESS_BAR_S, demo_plots
from cluster.report import Page, Tile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cluster.demo.run import Seen
    from cluster.demo.summary import Number

# What the demo is to reach on a machine of two cores.
AUC_GAP_BAR = 0.01


def demo_page(seen: Seen, summary: Mapping[str, Number], machine: str) -> Page:
    """The report of a run. machine: what it ran on, in a few words."""
    return Page(
        title="Trilith demo",
        subtitle=(
            "A DeepFM learns from an endless synthetic click log at full speed, while two replicas "
            "in the same process take over what it learned twice a second and answer a client over "
            f"gRPC. {machine}."
        ),
        tiles=_tiles(summary),
        plots=demo_plots(seen),
        table=tuple((name, _shown(name, value)) for name, value in summary.items()),
        sources=(("The job file", JOB_TEXT),),
    )


def _tiles(summary: Mapping[str, Number]) -> tuple[Tile, ...]:
    gap, stale = summary["last_quarter_auc_gap"], summary["staleness_p99_s"]
    errors = summary["predict_errors"] or 0
    return (
        Tile("Examples learned from", _shown("examples", summary["examples"])),
        Tile("Examples a second", _shown("examples_per_s", summary["examples_per_s"])),
        Tile(
            "AUC, last quarter",
            _shown("auc", summary["last_quarter_auc"]),
            f"oracle {_shown('auc', summary['last_quarter_oracle_auc'])}",
            None if gap is None else gap <= AUC_GAP_BAR,
        ),
        Tile(
            "Staleness, p99",
            _shown("staleness_p99_s", stale),
            f"at most {STALENESS_BAR_S:g} s",
            None if stale is None else stale <= STALENESS_BAR_S,
        ),
        Tile(
            "Predict, p99",
            _shown("predict_p99_ms", summary["predict_p99_ms"]),
            f"p50 {_shown('predict_p50_ms', summary['predict_p50_ms'])}",
        ),
        Tile(
            "Predict requests",
            _shown("predict_requests", summary["predict_requests"]),
            f"{errors:,} failed",
            errors == 0,
        ),
    )


def _shown(name: str, value: Number) -> str:
    """A figure as its name asks for."""
    if value is None:
        return "–"
    if name.endswith("_per_s"):
        return f"{value:,.0f}"
    if name.endswith("_ms"):
        return f"{value:.2f} ms"
    if name.endswith("_s"):
        return f"{value:.2f} s"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
