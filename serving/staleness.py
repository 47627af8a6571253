"""How old the news was when it arrived: the last few thousand blocks' staleness."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class StalenessSummary:
    """Percentiles over the blocks remembered; None before the first."""

    blocks: int
    p50_s: float | None
    p99_s: float | None
    max_s: float | None


class StalenessWindow:
    """A ring of the last `capacity` blocks' staleness. Safe to use from several threads."""

    def __init__(self, capacity: int = 4_096) -> None:
        self._ring = np.zeros(capacity, dtype=np.float64)
        self._recorded = 0
        self._lock = threading.Lock()

    def record(self, staleness_s: float) -> None:
        """Remember one block's staleness, in seconds, in the place of the oldest."""
        with self._lock:
            self._ring[self._recorded % len(self._ring)] = staleness_s
            self._recorded += 1

    def summary(self) -> StalenessSummary:
        """The percentiles of what is remembered; `blocks` counts all ever recorded."""
        with self._lock:
            seen = self._ring[: self._recorded].copy()
            recorded = self._recorded
        if not len(seen):
            return StalenessSummary(blocks=0, p50_s=None, p99_s=None, max_s=None)
        p50, p99, highest = (float(x) for x in np.percentile(seen, (50, 99, 100)))
        return StalenessSummary(blocks=recorded, p50_s=p50, p99_s=p99, max_s=highest)
