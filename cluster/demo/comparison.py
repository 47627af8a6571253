"""The model against the oracle: both judged on the same examples, second by second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from worker.metrics.progressive import MetricsSpec, ProgressiveMetrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model.batch import Batch
    from ps.arrays import F32
    from ps.clock import Clock
    from worker.events import EventChunk

ORACLE_COLUMN = "true_probability"
_SPEC = MetricsSpec(window_s=None)


@dataclass(frozen=True, slots=True)
class Second:
    """The examples learned from within one second of the run. at_s: its end."""

    at_s: float
    model: ProgressiveMetrics
    oracle: ProgressiveMetrics

    @property
    def examples(self) -> int:
        """How many there were."""
        return self.model.totals().examples


class Comparison:
    """Watches the batches of a run whose stream knows the true probability of a click.

    The thread that trains calls observe; seconds and totals are for when it has finished.
    """

    def __init__(self, clock: Clock) -> None:
        self.seconds: list[Second] = []
        self._clock = clock
        self._started_s = clock.monotonic_s()

    def observe(self, chunk: EventChunk, batch: Batch, probabilities: F32) -> None:
        """Take in a batch: row i of chunk and batch is the same example."""
        if batch.labels is None:
            return
        number = int(self._clock.monotonic_s() - self._started_s)
        if not self.seconds or self.seconds[-1].at_s < number + 1:
            self.seconds.append(
                Second(number + 1.0, ProgressiveMetrics(_SPEC), ProgressiveMetrics(_SPEC))
            )
        truth = chunk.columns.column(ORACLE_COLUMN).to_numpy().astype(np.float32)
        now = self.seconds[-1]
        now.model.update(probabilities, batch.labels, batch.event_ts_us)
        now.oracle.update(truth, batch.labels, batch.event_ts_us)

    def totals(self) -> Second:
        """All examples together."""
        return merged(self.seconds)

    def last_quarter(self) -> Second:
        """The latest seconds that hold at least a quarter of all examples."""
        wanted = sum(second.examples for second in self.seconds) / 4
        first = len(self.seconds)
        found = 0
        while first > 0 and found < wanted:
            first -= 1
            found += self.seconds[first].examples
        return merged(self.seconds[first:])


def merged(seconds: Sequence[Second]) -> Second:
    """The examples of several seconds together."""
    together = Second(
        seconds[-1].at_s if seconds else 0.0, ProgressiveMetrics(_SPEC), ProgressiveMetrics(_SPEC)
    )
    for second in seconds:
        together.model.merge(second.model)
        together.oracle.merge(second.oracle)
    return together
