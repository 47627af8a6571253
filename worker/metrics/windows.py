"""Metrics per window of event time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from worker.errors import MetricsError
from worker.metrics.auc import exact_auc
from worker.metrics.summary import WindowSummary
from worker.metrics.sums import ScoreSums, SettledSums

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.arrays import F32, F64, I64, Bool

_FIRST = np.zeros(1, np.int64)
_MAYBE_UNKNOWN = ("auc", "auc_error")


class _Window:
    """One open window: sums, and the scores themselves while they are few."""

    def __init__(self, n_bins: int, exact_limit: int) -> None:
        self.sums = ScoreSums(1, n_bins)
        self._exact_limit = exact_limit
        self._scores: list[F32] | None = []
        self._labels: list[Bool] = []

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

    def settled(self) -> SettledSums:
        """The sums as they stand, with the exact AUC where it is known."""
        if not self._scores:
            return self.sums.settled()
        auc = exact_auc(np.concatenate(self._scores), np.concatenate(self._labels))
        return self.sums.settled(auc=auc)

    def merge(self, other: _Window) -> None:
        self.sums.add_rows(other.sums, _FIRST, _FIRST)
        if other._scores is None:
            self._drop_scores()
        for scores, labels in zip(other._scores or [], other._labels, strict=True):
            self._keep(scores, labels)

    def to_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {"sums": self.sums.to_dict()}
        if self._scores is not None:
            state["scores"] = b"".join(part.astype("<f4").tobytes() for part in self._scores)
            state["labels"] = b"".join(part.tobytes() for part in self._labels)
        return state

    def load(self, state: Mapping[str, Any]) -> None:
        self.sums.load(state["sums"])
        if "scores" not in state:
            self._drop_scores()
            return
        scores = np.frombuffer(state["scores"], "<f4").astype(np.float32)
        labels = np.frombuffer(state["labels"], np.uint8).astype(np.bool_)
        if not len(scores) == len(labels) == self.sums.examples[0]:
            raise MetricsError("not the state of these metrics: a window lacks some of its scores")
        if len(scores):
            self._keep(scores, labels)


class EventTimeWindows:
    """Windows of window_us, aligned to the epoch, that close as the event clock passes them.

    The event clock is the largest event time seen. A window closes lateness_us after its end;
    examples that come later still are counted in late and belong to no window. The keep latest
    windows are kept. AUC is exact while a window has at most exact_limit examples. A closed window
    lets go of its histogram: there may be a thousand of them, to be saved every second.
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
        self._closed: dict[int, SettledSums] = {}

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
        return [self._summary(number) for number in sorted({*self._windows, *self._closed})]

    def merge(self, other: EventTimeWindows) -> None:
        """Add another's windows. A window that either has closed is closed.

        Where both have examples in it and one has closed it, its AUC is the mean of theirs, weighted by
        pairs, and nobody knows how far that is off: merge before windows close (lateness_us) where it
        has to be exact.
        """
        if (self.window_us, self.lateness_us) != (other.window_us, other.lateness_us):
            raise MetricsError("windows of another length cannot be merged; use the same settings")
        self.late += other.late
        for number, settled in other._closed.items():
            own = self._windows.pop(number, None)
            mine = self._closed.get(number) if own is None else own.settled()
            self._closed[number] = settled if mine is None else mine.plus(settled)
        for number, window in other._windows.items():
            if number in self._closed:
                self._closed[number] = self._closed[number].plus(window.settled())
            else:
                self._window(number).merge(window)
        if other.event_ts_us is not None:
            self._advance(max(other.event_ts_us, self.event_ts_us or other.event_ts_us))

    def to_dict(self) -> dict[str, Any]:
        """Numbers and bytes from which load restores everything."""
        closed = sorted(self._closed)
        settled = [self._closed[number] for number in closed]
        state: dict[str, Any] = {
            "late": self.late,
            "event_ts_us": self.event_ts_us,
            "open": [[number, self._windows[number].to_dict()] for number in sorted(self._windows)],
            "closed": np.array(closed, "<i8").tobytes(),
        }
        for place, name in enumerate(SettledSums._fields):
            column = [each[place] for each in settled]
            # None becomes NaN, which no AUC is.
            kind = "<f8" if name in _MAYBE_UNKNOWN else "<i8"
            state[name] = (
                np.array(column, np.float64 if kind == "<f8" else np.int64).astype(kind).tobytes()
            )
        return state

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what to_dict gave, in place of what is here. Raises MetricsError."""
        self.late = state["late"]
        self.event_ts_us = state["event_ts_us"]
        self._windows = {}
        for number, window in state["open"]:
            self._window(number).load(window)
        columns: list[list[Any]] = []
        for name in SettledSums._fields:
            if name in _MAYBE_UNKNOWN:
                values = np.frombuffer(state[name], "<f8").tolist()
                columns.append([None if math.isnan(value) else value for value in values])
            else:
                columns.append(np.frombuffer(state[name], "<i8").tolist())
        numbers = np.frombuffer(state["closed"], "<i8").tolist()
        self._closed = {
            number: SettledSums(*values) for number, *values in zip(numbers, *columns, strict=True)
        }
        self._forget()

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
        closing = sorted(number for number in self._windows if number < upto)
        for number in closing:
            self._closed[number] = self._windows.pop(number).settled()
        summaries = [self._summary(number) for number in closing]
        self._forget()
        return summaries

    def _forget(self) -> None:
        """Keep the latest windows only."""
        excess = len(self._windows) + len(self._closed) - self._keep
        if excess > 0:
            for number in sorted({*self._windows, *self._closed})[:excess]:
                self._windows.pop(number, None)
                self._closed.pop(number, None)

    def _summary(self, number: int) -> WindowSummary:
        begin_us = number * self.window_us
        settled = self._closed.get(number)
        metrics = (self._windows[number].settled() if settled is None else settled).summary()
        return WindowSummary(begin_us, begin_us + self.window_us, settled is not None, metrics)
