"""Holds: workers stand still as long as anybody wants them to."""

from __future__ import annotations

import threading


class Holds:
    """Counts who wants workers to stand still. Safe to use from several threads.

    A number belongs to the time from the first who wants it to the last who does not any more, so a
    worker that reports it has been told since it began.
    """

    def __init__(self, first: int = 0) -> None:
        """first: above any number of a coordinator before this one."""
        self._changing = threading.Lock()
        self._number = first
        self._wanted = 0

    @property
    def number(self) -> int | None:
        """What workers are told; None: go on."""
        with self._changing:
            return self._number if self._wanted else None

    @property
    def others(self) -> bool:
        """Whether more than one wants it: letting go then sets nobody free."""
        return self._wanted > 1

    def take(self) -> int:
        """Want it; the number to look for in reports."""
        with self._changing:
            if self._wanted == 0:
                self._number += 1
            self._wanted += 1
            return self._number

    def let_go(self) -> None:
        """Want it no more."""
        with self._changing:
            self._wanted -= 1
