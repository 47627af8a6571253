"""Files in a dict, with the interface of ps.store.location that bases and blocks need."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from ps.errors import FileMissingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ps.store.location import Location


class _Open:
    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, part: bytes | memoryview) -> None:
        self.data += part


class Folder:
    """Files by name. reads: how many bytes were read, by name."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.reads: dict[str, int] = {}
        self.is_local = False
        self.url = "dict://"

    def read(self, name: str) -> bytes:
        return self.read_range(name, 0, self.size(name))

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        self.size(name)
        self.reads[name] = self.reads.get(name, 0) + size
        return self.files[name][offset : offset + size]

    def read_into(self, name: str, offset: int, buffer: memoryview) -> int:
        data = self.read_range(name, offset, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def size(self, name: str) -> int:
        if name not in self.files:
            raise FileMissingError(self.url, name)
        return len(self.files[name])

    def write(self, name: str, parts: Iterable[bytes | memoryview]) -> None:
        self.files[name] = b"".join(parts)

    @contextmanager
    def writer(self, name: str) -> Iterator[_Open]:
        opened = _Open()
        yield opened
        self.files[name] = bytes(opened.data)


def folder() -> tuple[Folder, Location]:
    """One folder under both its types."""
    made = Folder()
    return made, cast("Location", made)
