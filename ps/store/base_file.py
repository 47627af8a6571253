"""Reading base files: the whole state of one shard at one cursor, section by section."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xxhash

from ps.block import TableDelta
from ps.codec import decode_block
from ps.errors import CorruptBlockError, CorruptFileError
from ps.store import base_format
from ps.store.file_ranges import FileRanges
from ps.store.names import base_name
from ps.store.rows import BUCKETS, in_buckets

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import numpy.typing as npt

    from ps.arrays import U8
    from ps.block import Block, Cursor
    from ps.store.base_format import BaseTable, Footer, Section
    from ps.store.location import Location

# Enough for the footer of most bases: one read less.
_TAIL_BYTES = 64 << 10


class LoadedSection(NamedTuple):
    """One section in memory. raw: uint8, its bytes; rows: views of raw, writable, nothing removed."""

    table: str
    section: Section
    raw: U8
    rows: TableDelta


class BaseReader:
    """A base file, opened: the footer has been verified, sections are when they are read.

    Raises CorruptFileError where it is damaged or not the base its name says, ForeignFileError where
    of another version, FileMissingError, StoreUnavailableError: here, and wherever something is read.
    """

    def __init__(self, location: Location, shard: int, at: Cursor) -> None:
        self.name = base_name(shard, at)
        self._ranges = FileRanges(location, self.name)
        self._footer = self._read_footer()
        found = self._footer.cursor
        if (self._footer.shard, found) != (shard, at):
            raise CorruptFileError(
                self.name,
                f"is the base of shard {self._footer.shard} at epoch {found.epoch} of generation "
                f"{found.generation}",
            )

    @property
    def model(self) -> str:
        """The fingerprint of the model."""
        return self._footer.model

    @property
    def tables(self) -> Mapping[str, BaseTable]:
        """Shape and sections of every table."""
        return self._footer.tables

    @property
    def size_bytes(self) -> int:
        """Of the file."""
        return self._ranges.size_bytes

    @cached_property
    def head(self) -> Block:
        """The base without its rows."""
        size = self._footer.head_bytes
        raw = np.empty(base_format.padded(size), dtype=np.uint8)
        self._read_checked(self._footer.head_offset, raw, self._footer.head_checksum, "head")
        try:
            head = decode_block(raw[:size].data)
        except CorruptBlockError as error:
            raise CorruptFileError(self.name, f"head: {error}") from error
        found = (head.base, head.model, head.shard, head.cursor)
        if found != (True, self.model, self._footer.shard, self._footer.cursor):
            raise CorruptFileError(self.name, f"head and footer disagree: {found}")
        return head

    def sections(
        self,
        first_bucket: int = 0,
        end_bucket: int = BUCKETS,
        tables: Collection[str] | None = None,
    ) -> Iterator[LoadedSection]:
        """The sections that have rows and touch [first_bucket, end_bucket), whole, one by one.

        tables: only of these. The next section is read and checked while the caller works on this
        one; what was handed out is overwritten once the next is asked for. Memory: two sections.
        """
        wanted = [
            (name, section)
            for name, table in self.tables.items()
            if tables is None or name in tables
            for section in table.sections
            if section.rows and section.first_bucket < end_bucket
            if section.end_bucket > first_bucket
        ]
        largest = max((section.size_bytes for _, section in wanted), default=0)
        buffers = [np.empty(largest, dtype=np.uint8) for _ in wanted[:2]]
        if len(wanted) < 2:
            for name, section in wanted:
                yield self.read_section(name, section, buffers[0])
            return
        with ThreadPoolExecutor(1, thread_name_prefix="base-reader") as thread:
            coming = thread.submit(self.read_section, *wanted[0], buffers[0])
            for i in range(len(wanted)):
                loaded = coming.result()
                if i + 1 < len(wanted):
                    coming = thread.submit(self.read_section, *wanted[i + 1], buffers[(i + 1) % 2])
                yield loaded

    def rows(
        self,
        first_bucket: int = 0,
        end_bucket: int = BUCKETS,
        tables: Collection[str] | None = None,
    ) -> Iterator[tuple[str, TableDelta]]:
        """The rows of those buckets, section by section, with their table; see sections()."""
        for loaded in self.sections(first_bucket, end_bucket, tables):
            section, rows = loaded.section, loaded.rows
            if section.first_bucket < first_bucket or section.end_bucket > end_bucket:
                rows = in_buckets(rows, first_bucket, end_bucket)
            yield loaded.table, rows

    def read_section(self, table: str, section: Section, buffer: U8) -> LoadedSection:
        """One section, read into the beginning of buffer, which it then is a view of."""
        raw = buffer[: section.size_bytes]
        what = f"buckets {section.first_bucket} to {section.end_bucket - 1} of table {table!r}"
        self._read_checked(section.offset, raw, section.checksum, what)
        shape = self.tables[table]
        return LoadedSection(table, section, raw, _columns(raw, section.rows, shape))

    def verify(self) -> None:
        """Read everything once."""
        _ = self.head
        for _ in self.sections():
            pass

    def _read_checked(self, offset: int, raw: U8, checksum: bytes, what: str) -> None:
        self._ranges.read_into(offset, raw)
        if xxhash.xxh3_128_digest(raw.data) != checksum:
            raise CorruptFileError(self.name, f"{what} does not match its checksum")

    def _read_footer(self) -> Footer:
        size = self._ranges.size_bytes
        if size < base_format.PRELUDE_BYTES + base_format.TRAILER_BYTES:
            raise CorruptFileError(self.name, f"{size} bytes are too few for a base")
        base_format.check_prelude(self.name, self._ranges.read(0, base_format.PRELUDE_BYTES))
        tail = self._ranges.read(max(0, size - _TAIL_BYTES), min(size, _TAIL_BYTES))
        trailer = tail[-base_format.TRAILER_BYTES :]
        footer_bytes = base_format.footer_bytes(self.name, trailer, size)
        wanted = footer_bytes + len(trailer)
        if wanted > len(tail):
            tail = self._ranges.read(size - wanted, wanted)
        packed = tail[len(tail) - wanted : -len(trailer)]
        return base_format.decode_footer(self.name, packed, trailer, size)


def _columns(raw: U8, rows: int, shape: BaseTable) -> TableDelta:
    """A section's arrays, as views of its bytes."""
    at = 0
    columns: list[npt.NDArray[Any]] = []
    sizes = base_format.column_bytes(rows, shape.width, shape.state_width)
    for size, dtype in zip(sizes, ("<u8", "<u4", "<f4", "<f4"), strict=True):
        columns.append(raw[at : at + size].view(dtype))
        at += base_format.padded(size)
    return TableDelta(
        fids=columns[0],
        last_seen_s=columns[1],
        weights=columns[2].reshape(rows, shape.width),
        state=columns[3].reshape(rows, shape.state_width),
        removed=np.empty(0, dtype=np.uint64),
    )
