"""Totals of what was killed, flipped and cut short, at the end of the run."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """One line for each property that tests recorded as a number."""
    totals: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":
                for name, value in report.user_properties:
                    if isinstance(value, int):
                        totals[name] += value
    for name, total in sorted(totals.items()):
        terminalreporter.write_line(f"{name.replace('_', ' ')}: {total:,}")
