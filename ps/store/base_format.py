"""The shape of a base file: a prelude, sections, and a footer that says where everything is.

    prelude 64 | sections of rows | head | footer | xxh3-128 of prelude, footer, its length | length u64 | end

A section holds the rows of one table in a contiguous range of buckets: raw little-endian arrays
fids uint64[n] | last_seen_s uint32[n] | weights float32[n, width] | state float32[n, state_width], each
padded with zeros to a multiple of 64. The sections of a table, in order of their buckets, share out
all buckets; tables follow one another in order of their names. The head is a base block without rows
(ps.codec), padded too. The footer has the checksum of every section and of the head, so that every
byte of the file is under one and any section can be read alone. Where a section begins follows from
the sizes of those before it: there are no offsets that could point astray.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgpack
import xxhash

from ps.block import Cursor
from ps.errors import CorruptFileError, ForeignFileError
from ps.store.rows import BUCKETS

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = 1
ALIGNMENT = 64
PRELUDE_BYTES = 64
TRAILER_BYTES = 32
CHECKSUM_BYTES = 16

_MAGIC = b"TLBS"
_END = b"TLBS.end"
_PRELUDE = struct.Struct("<4sHH40x16s")
_TRAILER = struct.Struct("<16sQ8s")
_LENGTH = struct.Struct("<Q")
# Bounds on what a footer may claim, far above any real base.
_MAX_ROWS = 1 << 40
_MAX_WIDTH = 1 << 20


@dataclass(frozen=True, slots=True)
class Section:
    """Where the rows of buckets [first_bucket, end_bucket) of one table are in the file."""

    first_bucket: int
    end_bucket: int
    rows: int
    offset: int
    size_bytes: int
    checksum: bytes


@dataclass(frozen=True, slots=True)
class BaseTable:
    """One table of a base: the shape of its rows and its sections, in order of their buckets."""

    width: int
    state_width: int
    sections: tuple[Section, ...] = ()

    @property
    def rows(self) -> int:
        """Rows in all sections."""
        return sum(section.rows for section in self.sections)

    def rows_between(self, first_bucket: int, end_bucket: int) -> float:
        """About how many rows buckets [first_bucket, end_bucket) have: hashing spreads them evenly."""
        rows = 0.0
        for s in self.sections:
            shared = min(end_bucket, s.end_bucket) - max(first_bucket, s.first_bucket)
            rows += s.rows * max(0, shared) / (s.end_bucket - s.first_bucket)
        return rows


@dataclass(frozen=True, slots=True)
class Footer:
    """What is in the file. head_bytes: without padding; head_checksum: with it."""

    model: str
    shard: int
    cursor: Cursor
    tables: dict[str, BaseTable] = field(default_factory=dict)
    head_bytes: int = 0
    head_checksum: bytes = b""

    @property
    def head_offset(self) -> int:
        """Where the head begins: behind the last section."""
        sections = (s for table in self.tables.values() for s in table.sections)
        return PRELUDE_BYTES + sum(section.size_bytes for section in sections)


def padded(size: int) -> int:
    """The size rounded up to a whole number of lines."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def row_bytes(width: int, state_width: int) -> int:
    """Bytes of one row in a section."""
    return 8 + 4 + 4 * width + 4 * state_width


def column_bytes(rows: int, width: int, state_width: int) -> tuple[int, int, int, int]:
    """Bytes of the four arrays of a section, without padding."""
    return 8 * rows, 4 * rows, 4 * width * rows, 4 * state_width * rows


def section_bytes(rows: int, width: int, state_width: int) -> int:
    """Bytes of a section, padding included."""
    return sum(padded(size) for size in column_bytes(rows, width, state_width))


def prelude() -> bytes:
    """The first bytes of every base file of this version."""
    return _prelude(VERSION)


def _prelude(version: int) -> bytes:
    bare = _PRELUDE.pack(_MAGIC, version, 0, bytes(CHECKSUM_BYTES))[:-CHECKSUM_BYTES]
    return bare + xxhash.xxh3_128_digest(bare)


def check_prelude(name: str, found: bytes) -> None:
    """Raise CorruptFileError where it is no base's, ForeignFileError where of another version."""
    if found == prelude():
        return
    if len(found) == PRELUDE_BYTES:
        magic, version, _, _ = _PRELUDE.unpack(found)
        if magic == _MAGIC and found == _prelude(version):
            raise ForeignFileError(name, version, VERSION)
    raise CorruptFileError(name, f"begins with {found[:4]!r}, not as a base does")


def encode_footer(footer: Footer) -> bytes:
    """Footer and trailer: the end of the file."""
    packed = msgpack.packb(
        [
            footer.model,
            footer.shard,
            *footer.cursor,
            [
                [
                    name,
                    table.width,
                    table.state_width,
                    [[s.end_bucket, s.rows, s.checksum] for s in table.sections],
                ]
                for name, table in footer.tables.items()
            ],
            footer.head_bytes,
            footer.head_checksum,
        ]
    )
    trailer = _TRAILER.pack(_footer_checksum(packed), len(packed), _END)
    return b"".join((packed, trailer))


def footer_bytes(name: str, trailer: bytes, file_bytes: int) -> int:
    """How long the footer is, by the last TRAILER_BYTES of the file. Raises CorruptFileError."""
    if len(trailer) != TRAILER_BYTES or trailer[-len(_END) :] != _END:
        raise CorruptFileError(name, f"its {file_bytes:,} bytes do not end as a base does")
    length: int = _TRAILER.unpack(trailer)[1]
    if length > file_bytes - PRELUDE_BYTES - TRAILER_BYTES:
        raise CorruptFileError(name, f"a footer of {length:,} bytes in {file_bytes:,}")
    return length


def decode_footer(name: str, packed: bytes, trailer: bytes, file_bytes: int) -> Footer:
    """The footer in `packed`, whose length the trailer said.

    Raises CorruptFileError where it is damaged or makes no sense of a file of so many bytes.
    """
    if _footer_checksum(packed) != _TRAILER.unpack(trailer)[0]:
        raise CorruptFileError(name, "its footer does not match its checksum")
    try:
        fields = msgpack.unpackb(packed, use_list=True, strict_map_key=True)
        model, shard, epoch, generation, tables, head_bytes, head_checksum = fields
        footer = Footer(
            model=_text(model),
            shard=_integer(shard),
            cursor=Cursor(_integer(epoch), _integer(generation)),
            tables=dict(_read_tables(tables)),
            head_bytes=_integer(head_bytes),
            head_checksum=_checksum(head_checksum),
        )
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise CorruptFileError(name, f"its footer makes no sense: {error}") from error
    expected = footer.head_offset + padded(footer.head_bytes) + len(packed) + TRAILER_BYTES
    if file_bytes != expected:
        raise CorruptFileError(name, f"has {file_bytes:,} bytes, its footer says {expected:,}")
    return footer


def _read_tables(found: object) -> Iterator[tuple[str, BaseTable]]:
    offset = PRELUDE_BYTES
    last: str | None = None
    for entry in _list(found):
        name, width, state_width, entries = _list(entry)
        table = BaseTable(_integer(width, _MAX_WIDTH), _integer(state_width, _MAX_WIDTH))
        if last is not None and _text(name) <= last:
            raise ValueError(f"table {name!r} after {last!r}")
        last = _text(name)
        sections = []
        first = 0
        for section in _list(entries):
            end, rows, checksum = _list(section)
            end, rows = _integer(end, BUCKETS), _integer(rows, _MAX_ROWS)
            if end <= first:
                raise ValueError(f"buckets [{first}, {end}) of table {last!r}")
            size = section_bytes(rows, table.width, table.state_width)
            sections.append(Section(first, end, rows, offset, size, _checksum(checksum)))
            offset += size
            first = end
        if first != BUCKETS:
            raise ValueError(f"table {last!r} ends at bucket {first}")
        yield last, BaseTable(table.width, table.state_width, tuple(sections))


def _footer_checksum(packed: bytes) -> bytes:
    digest = xxhash.xxh3_128(prelude())
    digest.update(packed)
    digest.update(_LENGTH.pack(len(packed)))
    return digest.digest()


def _list(found: object) -> list[object]:
    if not isinstance(found, list):
        raise TypeError(f"{found!r:.50} is no list")
    return found


def _text(found: object) -> str:
    if not isinstance(found, str):
        raise TypeError(f"{found!r:.50} is no text")
    return found


def _checksum(found: object) -> bytes:
    if not isinstance(found, bytes) or len(found) != CHECKSUM_BYTES:
        raise TypeError(f"{found!r:.50} is no checksum")
    return found


def _integer(found: object, most: int = (1 << 63) - 1) -> int:
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= most:
        raise ValueError(f"{found!r:.50} is no integer between 0 and {most}")
    return found
