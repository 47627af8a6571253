"""The numbers of epochs: common to all shards, and above any there has been."""

from __future__ import annotations

import threading


class Numbering:
    """Counts on from the highest epoch known. Safe to use from several threads."""

    def __init__(self, newest: int = 0) -> None:
        self._changing = threading.Lock()
        self._newest = newest

    @property
    def newest(self) -> int:
        """The highest there has been anywhere."""
        return self._newest

    def next(self) -> int:
        """One that nothing has been sealed as."""
        with self._changing:
            self._newest += 1
            return self._newest

    def note(self, epoch: int) -> None:
        """There is such an epoch somewhere."""
        with self._changing:
            self._newest = max(self._newest, epoch)
