"""A schedule: which of the moments there are is nearest to the next one wanted."""

from __future__ import annotations


class Schedule:
    """Every every_s on the average, whatever the moments at which one can look.

    What is due is due from half the time between two looks before: a moment that comes a little early
    would otherwise be let pass, for one that is nearly a whole look late. What has been late is caught
    up on no faster than in half of every_s. One thread's own.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._due_s: float | None = None
        self._looked_s: float | None = None
        self._tolerance_s = 0.0

    def is_due(self, now_s: float) -> bool:
        """Whether now is the moment; to be asked at every moment there is. The first always is."""
        if self._looked_s is not None:
            self._tolerance_s = min(now_s - self._looked_s, self._every_s) / 2
        self._looked_s = now_s
        return self._due_s is None or now_s >= self._due_s - self._tolerance_s

    def done(self, now_s: float) -> None:
        """It has been done, whether it was due or not."""
        due_s = now_s if self._due_s is None else self._due_s
        if now_s >= due_s - self._tolerance_s:
            self._due_s = max(due_s + self._every_s, now_s + self._every_s / 2)
