"""A location: the one way files of a store are read, written, listed and deleted.

A plain path or file:// goes through the operating system (ps.store.local); memory://, s3://, gs:// and
whatever else fsspec knows goes through it (ps.store.remote): ps.store.opening finds the one a URL
stands for. Either way a file is there whole or not at all, whatever happens to the writer, and no name
leads out of the store.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ps.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

Buffer = bytes | bytearray | memoryview

# A call to a store that does not answer is given up after this, plus a second for every MiB moved.
DEADLINE_S = 60.0
# What is being written bears this in its name until it is whole; no file of a store does.
UNFINISHED = ".tmp-"

_NAME_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file of a store. name: relative to the store. modified_us: 0 where the store does not say."""

    name: str
    size: int
    modified_us: int


Listing = list[FileInfo]


class FileWriter(Protocol):
    """Takes a file's bytes one piece after the other."""

    def write(self, data: Buffer) -> None:
        """Append; the buffer may be reused at once. Raises StoreUnavailableError."""
        ...


class Location(ABC):
    """Where a store is. Safe to use from several threads.

    Every method raises StoreUnavailableError where the store does not do what was asked, or not in
    time, saying which file and what to do; FileMissingError where a file to be read is not there;
    StoreError where a name is none that a store's file can have.
    """

    url: str
    is_local: bool

    @abstractmethod
    def read(self, name: str) -> bytes:
        """A whole file."""

    @abstractmethod
    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`; fewer, or none, where the file ends before."""

    def read_into(self, name: str, offset: int, buffer: memoryview) -> int:
        """Fill buffer (writable bytes) from `offset`; how many bytes there were to fill it with."""
        data = self.read_range(name, offset, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    @abstractmethod
    def size(self, name: str) -> int:
        """A file's size in bytes."""

    @abstractmethod
    def create(self, name: str, data: bytes) -> bool:
        """Write a small file that must not be there yet; False where it is: of several who try,
        one succeeds.

        Stores that cannot promise this (see ps.store.remote) may let two succeed, the later
        replacing the earlier: whoever relies on it reads the file again.
        """

    @abstractmethod
    def writer(self, name: str) -> AbstractContextManager[FileWriter]:
        """A file to be written piece by piece: there once the context is left, durable; not at all
        where it is left by an exception. Replaces a file of that name in one step.
        """

    @abstractmethod
    def list(self, folder: str = "") -> Listing:
        """The files in a folder and below, by name; none where there is no such folder.

        Leaves out what is being written.
        """

    @abstractmethod
    def list_unfinished(self) -> Listing:
        """What writers that died have left behind, or others are writing; not what this process is."""

    @abstractmethod
    def delete(self, names: Iterable[str]) -> None:
        """Delete files; one that is gone already is no error. Durable once it returns."""

    def write(self, name: str, parts: Iterable[Buffer]) -> None:
        """Write a file from its parts, in one step: see writer()."""
        with self.writer(name) as out:
            for part in parts:
                out.write(part)

    def why_empty(self) -> str:
        """Why there may be no file of a store here, as far as that can be known."""
        return "nothing was ever written there"

    def full_name(self, name: str) -> str:
        """A file's name as people and their tools know it."""
        return f"{self.url}/{name}"


def check_name(name: str) -> list[str]:
    """The parts of a file's name. Raises StoreError where it could lead out of the store."""
    parts = name.split("/")
    if not all(_NAME_PART.fullmatch(part) for part in parts):
        raise StoreError(
            f"{name!r} is no name of a file in a store: letters, digits, dots and dashes, with / "
            "between folders; nothing was read or written"
        )
    return parts
