"""Sums over examples from which every metric follows, for many groups of examples at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from worker.errors import MetricsError
from worker.kernels.scores import add_scores
from worker.metrics.auc import binned_auc
from worker.metrics.scores import LOGIT_LIMIT
from worker.metrics.summary import summarise

if TYPE_CHECKING:
    from ps.arrays import F64, I64, Bool
    from worker.metrics.summary import MetricSummary

# Losses and predictions are summed as whole multiples of 2^-30, so that sums are the same to the
# last bit in any order and over any split. An example is off by at most 5e-10; an int64 holds the
# losses of more than 5e8 examples even at the worst loss there is (16), 2e10 at an ordinary one.
_UNIT = float(1 << 30)
_ALL_TO_THE_FIRST: I64 = np.empty(0, np.int64)


class ScoreSums:
    """n_rows independent sets of sums, each with a histogram of scores of n_bins bins.

    Owned and mutated by whoever made it; merging adds.
    """

    def __init__(self, n_rows: int, n_bins: int) -> None:
        self.n_bins = n_bins
        self.examples: I64 = np.zeros(n_rows, np.int64)
        self._losses: I64 = np.zeros(n_rows, np.int64)
        self._predictions: I64 = np.zeros(n_rows, np.int64)
        # by row, then label (0, 1), then bin
        self._histogram: I64 = np.zeros((n_rows, 2, n_bins), np.int64)

    def add(self, logits: F64, labels: Bool, rows: I64 | None = None) -> None:
        """Count examples: logits float64[n] finite and clipped, labels bool[n], rows int64[n].

        rows: which set each example belongs to; None means all to the first.
        """
        add_scores(
            np.ascontiguousarray(logits),
            labels,
            _ALL_TO_THE_FIRST if rows is None else rows,
            _UNIT,
            LOGIT_LIMIT,
            self.n_bins,
            self.examples,
            self._losses,
            self._predictions,
            self._histogram.reshape(-1),
        )

    def summary(self, row: int = 0, *, auc: float | None = None) -> MetricSummary:
        """The metrics of one set. auc: the exact value where the caller knows it."""
        negatives, positives = self._histogram[row]
        binned, error = binned_auc(negatives, positives)
        if auc is not None:
            binned, error = auc, 0.0
        return summarise(
            int(self.examples[row]),
            int(positives.sum()),
            int(self._losses[row]) / _UNIT,
            int(self._predictions[row]) / _UNIT,
            binned,
            error,
        )

    def add_rows(self, other: ScoreSums, rows: I64, into: I64) -> None:
        """Add rows of other (or of this very object) to rows of this one; both int64[k]."""
        if other.n_bins != self.n_bins:
            raise MetricsError(
                f"histograms of {self.n_bins} and {other.n_bins} bins cannot be merged; make both "
                "from the same MetricsSpec"
            )
        np.add.at(self.examples, into, other.examples[rows])
        np.add.at(self._losses, into, other._losses[rows])
        np.add.at(self._predictions, into, other._predictions[rows])
        np.add.at(self._histogram, into, other._histogram[rows])

    def move_rows(self, rows: I64) -> None:
        """Make row i what row rows[i] was, unique; rows that are not named become zero."""
        for values in (self.examples, self._losses, self._predictions, self._histogram):
            kept = values[rows]
            values[:] = 0
            values[: len(rows)] = kept

    def row_to_dict(self, row: int = 0) -> dict[str, Any]:
        """One set as plain numbers; the histogram as [cell, count] pairs of what is not empty."""
        cells = self._histogram[row].reshape(-1)
        filled = np.flatnonzero(cells)
        return {
            "examples": int(self.examples[row]),
            "losses": int(self._losses[row]),
            "predictions": int(self._predictions[row]),
            "cells": [filled.tolist(), cells[filled].tolist()],
        }

    def load_row(self, state: dict[str, Any], row: int = 0) -> None:
        """Set one row to what row_to_dict gave. Raises MetricsError where it does not fit."""
        try:
            cells, counts = (np.array(part, np.int64) for part in state["cells"])
            self._histogram[row] = 0
            self._histogram[row].reshape(-1)[cells] = counts
            self.examples[row] = state["examples"]
            self._losses[row] = state["losses"]
            self._predictions[row] = state["predictions"]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise MetricsError(f"not the state of these metrics: {error!r}") from error
