"""Reading the fields of a record one by one, believing none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ps.block import Cursor
from ps.errors import CorruptFileError

if TYPE_CHECKING:
    from collections.abc import Iterator

_LEAST = -(1 << 63)
_MOST = (1 << 63) - 1


class Fields:
    """The fields of one list, taken in order. Everything raises CorruptFileError, naming the file."""

    def __init__(self, name: str, found: object, what: str, length: int | None = None) -> None:
        self._name = name
        self._what = what
        if not isinstance(found, list) or (length is not None and len(found) != length):
            raise self.malformed(f"is no list{'' if length is None else f' of {length}'}")
        self._left = iter(found)
        self.length = len(found)

    def malformed(self, how: str) -> CorruptFileError:
        """The error to raise about these fields."""
        return CorruptFileError(self._name, f"{self._what} {how}")

    def text(self) -> str:
        """The next field, a string."""
        found = self._next()
        if not isinstance(found, str):
            raise self.malformed(f"has {type(found).__name__}, expected text")
        return found

    def octets(self) -> bytes:
        """The next field, bytes."""
        found = self._next()
        if not isinstance(found, bytes):
            raise self.malformed(f"has {type(found).__name__}, expected bytes")
        return found

    def flag(self) -> bool:
        """The next field, true or false."""
        found = self._next()
        if not isinstance(found, bool):
            raise self.malformed(f"has {type(found).__name__}, expected true or false")
        return found

    def optional_text(self) -> str | None:
        """The next field, a string or nothing."""
        found = self._next()
        return None if found is None else Fields(self._name, [found], self._what).text()

    def integer(self, least: int = 0, most: int = _MOST) -> int:
        """The next field, an integer within bounds, both included."""
        found = self._next()
        if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= most:
            raise self.malformed(f"has {found!r:.40}, expected an integer from {least} to {most}")
        return found

    def optional_integer(self) -> int | None:
        """The next field, an integer from 0 or nothing."""
        found = self._next()
        return None if found is None else Fields(self._name, [found], self._what).integer()

    def time_us(self) -> int:
        """The next field, microseconds since the epoch, perhaps before it."""
        return self.integer(least=_LEAST)

    def optional_time_us(self) -> int | None:
        """The next field, a time or nothing."""
        found = self._next()
        if found is None:
            return None
        return Fields(self._name, [found], self._what).time_us()

    def cursor(self) -> Cursor:
        """The next two fields, epoch and generation."""
        return Cursor(self.integer(), self.integer())

    def optional_cursor(self) -> Cursor | None:
        """The next field, a list of epoch and generation, or nothing."""
        found = self._next()
        return None if found is None else Fields(self._name, found, "cursor", 2).cursor()

    def take(self) -> object:
        """The next field, whatever it is."""
        return self._next()

    def inner(self, what: str, length: int | None = None) -> Fields:
        """The next field, a list."""
        return Fields(self._name, self._next(), what, length)

    def entries(self, what: str, length: int) -> Iterator[Fields]:
        """The next field, a list of lists of that length."""
        among = self.inner(what)
        return (among.inner(what, length) for _ in range(among.length))

    def named(self, what: str, length: int) -> Iterator[tuple[str, Fields]]:
        """The next field, a list of lists that begin with a name, in strict order of the names."""
        last: str | None = None
        for entry in self.entries(what, length):
            name = entry.text()
            if last is not None and name <= last:
                raise self.malformed(f"lists {what} {name!r} after {last!r}")
            last = name
            yield name, entry

    def _next(self) -> object:
        try:
            found: object = next(self._left)
        except StopIteration:
            raise self.malformed(f"ends after {self.length}") from None
        return found
