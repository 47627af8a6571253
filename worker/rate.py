"""How fast it goes just now: a count over the last few seconds."""

from __future__ import annotations

from collections import deque

_WINDOW_S = 5.0


class RecentRate:
    """Things per second over the last five seconds; the times are the caller's."""

    def __init__(self) -> None:
        self._added: deque[tuple[float, int]] = deque()
        self._count = 0

    def add(self, count: int, now_s: float) -> None:
        """`count` more things at now_s, which never runs backwards."""
        self._added.append((now_s, count))
        self._count += count
        while now_s - self._added[0][0] > _WINDOW_S:
            self._count -= self._added.popleft()[1]

    @property
    def per_s(self) -> float | None:
        """The rate; None until two moments are known. The first moment's things came before it."""
        if len(self._added) < 2 or self._added[-1][0] == self._added[0][0]:
            return None
        elapsed_s = self._added[-1][0] - self._added[0][0]
        return (self._count - self._added[0][1]) / elapsed_s
