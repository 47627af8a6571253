"""Sums over examples from which every metric follows, for many groups of examples at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from worker.errors import MetricsError
from worker.kernels.scores import add_scores
from worker.metrics.auc import binned_auc
from worker.metrics.packed import pack, unpack
from worker.metrics.scores import LOGIT_LIMIT
from worker.metrics.summary import summarise

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.arrays import F64, I64, Bool
    from worker.metrics.summary import MetricSummary

# Losses and predictions are summed as whole multiples of 2^-30, so that sums are the same to the
# last bit in any order and over any split. An example is off by at most 5e-10; an int64 holds the
# losses of more than 5e8 examples even at the worst loss there is (16), 2e10 at an ordinary one.
_UNIT = float(1 << 30)
_ALL_TO_THE_FIRST: I64 = np.empty(0, np.int64)


class SettledSums(NamedTuple):
    """What is left of a set of sums to which nothing is added any more. losses, predictions: in 2^-30."""

    examples: int
    positives: int
    losses: int
    predictions: int
    auc: float | None
    auc_error: float | None

    def summary(self) -> MetricSummary:
        """The metrics."""
        return summarise(
            self.examples,
            self.positives,
            self.losses / _UNIT,
            self.predictions / _UNIT,
            self.auc,
            self.auc_error,
        )

    def plus(self, other: SettledSums) -> SettledSums:
        """Both together. Of pairs of one from each nobody knows which scored higher: their AUC is
        taken to be that of the pairs within either, which holds where both saw the like.
        """
        for one, rest in ((self, other), (other, self)):
            if not rest.examples:
                return one
        return SettledSums(
            self.examples + other.examples,
            self.positives + other.positives,
            self.losses + other.losses,
            self.predictions + other.predictions,
            self._mean_auc(other),
            None,
        )

    def _mean_auc(self, other: SettledSums) -> float | None:
        known = [
            (one.auc, one.positives * (one.examples - one.positives))
            for one in (self, other)
            if one.auc is not None
        ]
        pairs = sum(each for _, each in known)
        return sum(auc * each for auc, each in known) / pairs if pairs else None


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

    def summary(self, row: int = 0) -> MetricSummary:
        """The metrics of one set."""
        return self.settled(row).summary()

    def settled(self, row: int = 0, *, auc: float | None = None) -> SettledSums:
        """One set without its histogram. auc: the exact value where the caller knows it."""
        negatives, positives = self._histogram[row]
        error: float | None = 0.0
        if auc is None:
            auc, error = binned_auc(negatives, positives)
        return SettledSums(
            int(self.examples[row]),
            int(positives.sum()),
            int(self._losses[row]),
            int(self._predictions[row]),
            auc,
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

    def to_dict(self, n_rows: int | None = None) -> dict[str, Any]:
        """The first n_rows sets (None: all) as packed counts; of histograms, what is not empty."""
        rows = slice(0, n_rows)
        cells = self._histogram[rows].reshape(-1)
        filled = np.flatnonzero(cells)
        return {
            "examples": pack(self.examples[rows]),
            "losses": pack(self._losses[rows]),
            "predictions": pack(self._predictions[rows]),
            "gaps": pack(np.diff(filled, prepend=0)),
            "counts": pack(cells[filled]),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Set the first sets to what to_dict gave, all others to zero.

        Raises MetricsError where it does not fit.
        """
        try:
            sums = [unpack(state[name]) for name in ("examples", "losses", "predictions")]
            filled = np.cumsum(unpack(state["gaps"]))
            counts = unpack(state["counts"])
            n_rows = len(sums[0])
            if len({len(values) for values in sums}) > 1 or len(filled) != len(counts):
                raise MetricsError("not the state of these metrics: its parts differ in length")
            if n_rows > len(self.examples) or filled.max(initial=-1) >= 2 * n_rows * self.n_bins:
                raise MetricsError("not the state of these metrics: more sums than there is room")
            for mine, values in zip(
                (self.examples, self._losses, self._predictions), sums, strict=True
            ):
                mine[:] = 0
                mine[:n_rows] = values
            self._histogram[:] = 0
            self._histogram.reshape(-1)[filled] = counts
        except (KeyError, TypeError, ValueError) as error:
            raise MetricsError(f"not the state of these metrics: {error!r}") from error
