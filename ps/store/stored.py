"""How much a store holds: counted now and then by listing it, and added to in between."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ps.store.names import commit_name, cursor_of

if TYPE_CHECKING:
    from ps.block import Cursor
    from ps.store.location import Location


class Stored:
    """Restore points and bytes. add() and what is read: any thread's; count(): one at a time."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._points: set[Cursor] = set()
        self._bytes = 0
        # Since a count began: the listing may have them or not.
        self._since: dict[Cursor, int] = {}

    @property
    def points(self) -> int:
        """How many restore points there are."""
        return len(self._points)

    @property
    def bytes(self) -> int:
        """What all files weigh, about: commits themselves are added at the next count."""
        return self._bytes

    def add(self, at: Cursor, size: int) -> None:
        """A restore point has been made, with blocks of so many bytes."""
        with self._changing:
            if at not in self._points:
                self._points.add(at)
                self._bytes += size
            self._since[at] = size

    def add_bytes(self, size: int) -> None:
        """Files that are no restore point's yet have been written."""
        with self._changing:
            self._bytes += size

    def count(self, location: Location) -> None:
        """Look at what is there. Raises StoreUnavailableError; then all is as it was."""
        with self._changing:
            self._since.clear()
        files = location.list()
        cursors = ((info.name, cursor_of(info.name)) for info in files)
        points = {at for name, at in cursors if at is not None and name == commit_name(at)}
        with self._changing:
            late = {at: size for at, size in self._since.items() if at not in points}
            self._points = points | late.keys()
            self._bytes = sum(info.size for info in files) + sum(late.values())
