"""Pieces of one file of a store, read into buffers of the caller's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ps.errors import CorruptFileError

if TYPE_CHECKING:
    from ps.arrays import U8
    from ps.store.location import Location


class FileRanges:
    """A file of which pieces are read. Safe to use from many threads.

    Raises FileMissingError, StoreUnavailableError; CorruptFileError where the file is shorter than it
    was when it was opened.
    """

    def __init__(self, location: Location, name: str) -> None:
        self.name = name
        self._location = location
        self.size_bytes = location.size(name)

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from offset on."""
        data = self._location.read_range(self.name, offset, size)
        if len(data) != size:
            raise CorruptFileError(
                self.name, f"ends after {offset + len(data):,} bytes, in the middle of a piece"
            )
        return data

    def read_into(self, offset: int, buffer: U8) -> None:
        """Fill buffer, uint8[n] contiguous, from offset on."""
        found = self._location.read_into(self.name, offset, buffer.data)
        if found != buffer.size:
            raise CorruptFileError(
                self.name, f"ends after {offset + found:,} bytes, in the middle of a piece"
            )
