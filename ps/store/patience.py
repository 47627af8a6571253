"""Saying how far something has come, where it takes more than a moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ps.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from ps.clock import Clock

_FIRST_S = 2.0


class Patience:
    """Tells say how far `what` has come once two seconds have gone by, and every two from then on."""

    def __init__(self, what: str, say: Callable[[str], None], clock: Clock | None = None) -> None:
        self._what = what
        self._say = say
        self._clock = clock or SystemClock()
        self._next_s = self._clock.monotonic_s() + _FIRST_S

    def note(self, done: int, total: int) -> None:
        """So much of so much is done."""
        now_s = self._clock.monotonic_s()
        if now_s >= self._next_s:
            self._next_s = now_s + _FIRST_S
            self._say(f"{self._what}: {min(1.0, done / max(1, total)):.0%}")
