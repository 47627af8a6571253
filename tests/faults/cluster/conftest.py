"""A cluster of three machines to be broken, and a table of how long each recovery took."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING

from tests.cluster.fleet.conftest import cluster, shared_folder

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

__all__ = ["cluster", "shared_folder"]


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Of every kind of kill: how many there were, and seconds to recover from them."""
    found: dict[str, list[float]] = defaultdict(list)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":
                for name, value in report.user_properties:
                    if name.startswith("seconds ") and isinstance(value, list):
                        found[name.removeprefix("seconds ")] += value
    if found:
        terminalreporter.write_line(f"{'recovered from':<34}{'kills':>6}{'p50 s':>8}{'max s':>8}")
    for name, seconds in sorted(found.items()):
        terminalreporter.write_line(
            f"{name:<34}{len(seconds):>6}{median(seconds):>8.2f}{max(seconds):>8.2f}"
        )
