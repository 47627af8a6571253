"""A lock that is handed on in the order it was asked for."""

from __future__ import annotations

import threading
from collections import deque


class Turns:
    """One holder at a time, first come, first served. Not reentrant.

    An ordinary lock goes to whoever runs when it is free, which is the thread that has just let go of
    it: one that seals millions of rows in small pieces would keep out everyone in between.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._held = False

    def acquire(self, timeout_s: float | None = None) -> bool:
        """Wait for one's turn; False where it has not come within timeout_s (None: wait for it)."""
        with self._changing:
            if not self._held:
                self._held = True
                return True
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        if turn.acquire(timeout=-1 if timeout_s is None else timeout_s):
            return True
        with self._changing:
            if turn in self._waiting:
                self._waiting.remove(turn)
                return False
            return True  # it came just now

    def release(self) -> None:
        """Hand it to the next."""
        with self._changing:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._held = False

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()
