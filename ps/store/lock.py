"""The lock of a local store, which the kernel lets go of the moment its holder dies.

It keeps nobody out (a claim does): having got it is evidence that whoever held it is gone.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from ps.store.local import LocalLocation
from ps.store.names import LOCK

if TYPE_CHECKING:
    from ps.store.location import Location


class StoreLock:
    """Held until release(), or until the process ends."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd

    @staticmethod
    def try_take(location: Location) -> StoreLock | None:
        """The lock; None where someone else has it, or the store has no such thing.

        Raises StoreUnavailableError where the folder cannot be written.
        """
        if not isinstance(location, LocalLocation):
            return None
        location.create(LOCK, b"")
        try:
            fd = os.open(location.path / LOCK, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # held, or a file system that has no locks
            os.close(fd)
            return None
        return StoreLock(fd)

    def release(self) -> None:
        """Let go; again: no effect."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)
