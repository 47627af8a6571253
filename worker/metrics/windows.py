"""Metrics per window of event time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from worker.errors import MetricsError
from worker.metrics.auc import exact_auc
from worker.metrics.summary import WindowSummary
from worker.metrics.sums import ScoreSums

if TYPE_CHECKING:
    from ps.arrays import F32, F64, I64, Bool

_FIRST = np.zeros(1, np.int64)


class _Window:
    """One window: sums, and the scores themselves while they are few."""

    def __init__(self, n_bins: int, exact_limit: int) -> None:
        self.sums = ScoreSums(1, n_bins)
        self.closed = False
        self._exact_limit = exact_limit
        self._scores: list[F32] | None = []
        self._labels: list[Bool] = []
        self._exact_auc: float | None = None

    def add(self, logits: F64, labels: Bool) -> None:
        self.sums.add(logits, labels)
        self._keep(logits.astype(np.float32), labels)

    def _keep(self, scores: F32, labels: Bool) -> None:
        if self._scores is None:
            return
        self._scores.append(scores)
        self._labels.append(labels)
        if self.sums.examples[0] > self._exact_limit:
            self._drop_scores()

    def _drop_scores(self) -> None:
        self._scores = None
        self._labels = []

    def auc(self) -> float | None:
        """The exact AUC where it is known."""
        if self._scores is None:
            return self._exact_auc
        if not self._scores:
            return None
        return exact_auc(np.concatenate(self._scores), np.concatenate(self._labels))

    def close(self) -> None:
        """No more examples: settle the AUC and let go of the scores."""
        if not self.closed:
            self._exact_auc = self.auc()
            self._drop_scores()
            self.closed = True

    def merge(self, other: _Window) -> None:
        self.sums.add_rows(other.sums, _FIRST, _FIRST)
        self._exact_auc = None
        if other._scores is None:
            self._drop_scores()
        for scores, labels in zip(other._scores or [], other._labels, strict=True):
            self._keep(scores, labels)

    def to_dict(self) -> dict[str, Any]:
        state = self.sums.row_to_dict()
        state["closed"] = self.closed
        state["exact_auc"] = self._exact_auc
        if self._scores is not None:
            state["scores"] = [float(score) for part in self._scores for score in part]
            state["labels"] = [int(label) for part in self._labels for label in part]
        return state

    def load(self, state: dict[str, Any]) -> None:
        self.sums.load_row(state)
        self.closed = bool(state["closed"])
        self._exact_auc = state["exact_auc"]
        if "scores" not in state:
            self._drop_scores()
        elif state["scores"]:
            self._keep(np.array(state["scores"], np.float32), np.array(state["labels"], np.bool_))


class EventTimeWindows:
    """Windows of window_us, aligned to the epoch, that close as the event clock passes them.

    The event clock is the largest event time seen. A window closes lateness_us after its end;
    examples that come later still are counted in late and belong to no window. The keep latest
    windows are kept. AUC is exact while a window has at most exact_limit examples.
    """

    def __init__(
        self, window_us: int, lateness_us: int, n_bins: int, exact_limit: int, keep: int
    ) -> None:
        self.window_us = window_us
        self.lateness_us = lateness_us
        self.late = 0
        self.event_ts_us: int | None = None
        self._n_bins = n_bins
        self._exact_limit = exact_limit
        self._keep = keep
        self._windows: dict[int, _Window] = {}

    def update(self, logits: F64, labels: Bool, event_ts_us: I64) -> list[WindowSummary]:
        """Count examples in stream order; the windows that closed, in time order.

        logits: float64[n] clipped; labels: bool[n]; event_ts_us: int64[n].
        """
        if not len(logits):
            return []
        clock = np.maximum.accumulate(event_ts_us)
        if self.event_ts_us is not None:
            clock = np.maximum(clock, self.event_ts_us)
        numbers = event_ts_us // self.window_us
        late = numbers < self._open_from(clock)
        self.late += int(late.sum())
        for number in np.unique(numbers[~late]):
            chosen = (numbers == number) & ~late
            self._window(int(number)).add(logits[chosen], labels[chosen])
        return self._advance(int(clock[-1]))

    def summaries(self) -> list[WindowSummary]:
        """All windows kept, in time order, the open ones as they stand."""
        return [self._summary(number) for number in sorted(self._windows)]

    def merge(self, other: EventTimeWindows) -> None:
        """Add another's windows. A window that either has closed is closed."""
        if (self.window_us, self.lateness_us) != (other.window_us, other.lateness_us):
            raise MetricsError("windows of another length cannot be merged; use the same settings")
        self.late += other.late
        for number, window in other._windows.items():
            self._window(number).merge(window)
        if other.event_ts_us is not None:
            self._advance(max(other.event_ts_us, self.event_ts_us or other.event_ts_us))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers from which load restores everything."""
        return {
            "late": self.late,
            "event_ts_us": self.event_ts_us,
            "windows": [[number, self._windows[number].to_dict()] for number in self._windows],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Restore what to_dict gave, in place of what is here."""
        self.late = state["late"]
        self.event_ts_us = state["event_ts_us"]
        self._windows = {}
        for number, window in state["windows"]:
            self._window(number).load(window)

    def _window(self, number: int) -> _Window:
        if number not in self._windows:
            self._windows[number] = _Window(self._n_bins, self._exact_limit)
        return self._windows[number]

    def _open_from(self, clock: I64) -> I64:
        """The first window still open at each clock: int64[n]."""
        return (clock - self.lateness_us) // self.window_us

    def _advance(self, event_ts_us: int) -> list[WindowSummary]:
        self.event_ts_us = event_ts_us
        upto = (event_ts_us - self.lateness_us) // self.window_us
        closing = sorted(n for n, w in self._windows.items() if n < upto and not w.closed)
        for number in closing:
            self._windows[number].close()
        summaries = [self._summary(number) for number in closing]
        for number in sorted(self._windows)[: -self._keep]:
            del self._windows[number]
        return summaries

    def _summary(self, number: int) -> WindowSummary:
        window = self._windows[number]
        begin_us = number * self.window_us
        metrics = window.sums.summary(auc=window.auc())
        return WindowSummary(begin_us, begin_us + self.window_us, window.closed, metrics)
