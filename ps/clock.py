"""The one place that reads the machine's clocks; everything else is handed a Clock."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Wall time for stamps and staleness, monotonic time for intervals."""

    def now_us(self) -> int:
        """Wall time in microseconds since the Unix epoch."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never run backwards, from an arbitrary origin."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_us(self) -> int:
        """Wall time in microseconds since the Unix epoch."""
        return time.time_ns() // 1_000

    def monotonic_s(self) -> float:
        """Seconds that never run backwards."""
        return time.perf_counter()


@dataclass
class ManualClock:
    """A clock that moves only when told to; for tests and for replays."""

    time_us: int = 0

    def now_us(self) -> int:
        """The time it was set to, in microseconds."""
        return self.time_us

    def monotonic_s(self) -> float:
        """The same time, in seconds."""
        return self.time_us / 1e6

    def advance_s(self, seconds: float) -> None:
        """Move both readings forward."""
        self.time_us += int(seconds * 1e6)
