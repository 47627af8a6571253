"""Telling a person how a run is going: a live panel on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.live import Live
from rich.logging import RichHandler
from rich.panel import Panel
from rich.spinner import Spinner
from rich.table import Table

from cluster.cli import figures

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from cluster.progress import RunProgress

_LINE_EVERY_S = 5.0


class Reporter(Protocol):
    """Who is told of a run; the run's own thread calls, and any thread says."""

    def say(self, message: str) -> None:
        """Something that stays to be read: an address, what an operator did."""
        ...

    def step(self, message: str) -> None:
        """What is being done now, before the run goes on."""
        ...

    def progress(self, progress: RunProgress) -> None:
        """The run as it stands."""
        ...


@contextmanager
def reporting(name: str, *, quiet: bool) -> Iterator[Reporter]:
    """The reporter that suits where the output goes. Both kinds write to standard error."""
    console = Console(stderr=True)
    if quiet or not (console.is_terminal and sys.stdout.isatty()):
        logging.basicConfig(
            level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
        )
        yield LineReporter(console)
        return
    handler = RichHandler(console=console, show_path=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        yield PanelReporter(name, live)


class LineReporter:
    """A line every few seconds, and one at the end, however often that is told."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_s = 0.0
        self._has_ended = False

    def say(self, message: str) -> None:
        """One line."""
        self._console.print(message, highlight=False, markup=False, soft_wrap=True)

    def step(self, message: str) -> None:
        """One line."""
        self.say(f"{message} …")

    def progress(self, progress: RunProgress) -> None:
        """A line, if the last one is a few seconds old, or somebody new tells the time."""
        anew = progress.elapsed_s < self._next_s - _LINE_EVERY_S
        is_due = anew or progress.elapsed_s >= self._next_s
        has_ended, self._has_ended = self._has_ended, progress.finished
        if not has_ended if progress.finished else is_due:
            self._next_s = progress.elapsed_s + _LINE_EVERY_S
            self.say(progress_line(progress))


class PanelReporter:
    """A panel that is painted over as the run goes on."""

    def __init__(self, name: str, live: Live) -> None:
        self._name = name
        self._live = live

    def say(self, message: str) -> None:
        """One line above the panel."""
        self._live.console.print(message, highlight=False, markup=False)

    def step(self, message: str) -> None:
        """In place of the panel."""
        self._live.update(Spinner("dots", f"{message} …"))

    def progress(self, progress: RunProgress) -> None:
        """Paint the panel anew."""
        self._live.update(progress_panel(self._name, progress))


def progress_line(progress: RunProgress) -> str:
    """A run on one line."""
    parts = [
        f"{progress.elapsed_s:7.1f} s",
        f"{progress.examples:,} examples",
        figures.rate(progress.examples_per_s),
        f"auc {figures.metric(progress.auc)}",
        f"log loss {figures.metric(progress.log_loss)}",
        f"rows {progress.rows:,} (+{progress.rows_admitted:,} -{progress.rows_expired:,})",
    ]
    if progress.staleness_p99_s is not None:
        parts.append(f"staleness p99 {figures.seconds(progress.staleness_p99_s)}")
    parts.append(f"quarantined {sum(progress.quarantined.values()):,}")
    if progress.store is not None:
        parts.append(f"store {_store(progress)}")
    if progress.batches_dropped:
        parts.append(f"batches dropped {progress.batches_dropped:,}")
    if progress.finished:
        parts.append(_ending(progress))
    return "  ".join(parts)


def progress_panel(name: str, progress: RunProgress) -> RenderableType:
    """A run as a panel of figures."""
    grid = Table.grid(padding=(0, 3))
    for _ in range(4):
        grid.add_column()

    def cell(label: str, value: str) -> str:
        return f"[dim]{label}[/] [bold]{value}[/]"

    grid.add_row(
        cell("examples", f"{progress.examples:,}"),
        cell("rate", figures.rate(progress.examples_per_s)),
        cell("time", figures.span(progress.elapsed_s)),
        cell("event time", figures.instant(progress.event_ts_us)),
    )
    grid.add_row(
        cell("progressive AUC", figures.metric(progress.auc)),
        cell("log loss", figures.metric(progress.log_loss)),
        cell("calibration", figures.metric(progress.calibration, 3)),
        cell("last window's AUC", figures.metric(progress.window_auc)),
    )
    grid.add_row(
        cell("rows", f"{progress.rows:,}"),
        cell("admitted", f"{progress.rows_admitted:,}"),
        cell("expired", f"{progress.rows_expired:,}"),
        cell("epoch", f"{progress.epoch:,}"),
    )
    grid.add_row(
        cell("staleness p50", figures.seconds(progress.staleness_p50_s)),
        cell("p99", figures.seconds(progress.staleness_p99_s)),
        cell("quarantined", f"{sum(progress.quarantined.values()):,}"),
        cell("batches dropped", f"{progress.batches_dropped:,}"),
    )
    if progress.store is not None:
        grid.add_row(cell("store", _store(progress)))
    state = _ending(progress) if progress.finished else "learning"
    return Panel(grid, title=f"{name} · {state}", title_align="left", expand=False)


def _ending(progress: RunProgress) -> str:
    """Why nothing more is learned."""
    return "stopped" if progress.stopped else "end of stream"


def _store(progress: RunProgress) -> str:
    """How saving stands."""
    if progress.saved_epoch is None:
        return str(progress.store)
    return f"{progress.store}, saved epoch {progress.saved_epoch:,}"
