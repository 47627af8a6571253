"""Writing base files, section by section."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import xxhash

from ps.block import TableDelta
from ps.codec import encoded_parts
from ps.errors import ShapeError
from ps.store import base_format
from ps.store.base_format import BaseTable, Footer, Section
from ps.store.heads import head_of
from ps.store.names import base_name
from ps.store.rows import BUCKETS, buckets_of
from ps.store.sections import cut

if TYPE_CHECKING:
    from types import TracebackType

    import numpy.typing as npt

    from ps.arrays import I64
    from ps.block import Block, Cursor
    from ps.store.base_file import LoadedSection
    from ps.store.location import Location


class BaseWriter:
    """Writes a base: every table in order of names, its sections in order of buckets, then finish().

    A context manager. The file appears whole once it has been left without an error after finish();
    otherwise there is nothing. Raises StoreUnavailableError wherever something is written.
    """

    def __init__(self, location: Location, shard: int, at: Cursor) -> None:
        self._footer = Footer("", shard, at)
        self._stack = ExitStack()
        self._file = self._stack.enter_context(location.writer(base_name(shard, at)))
        self._table = ""
        self._finished = False
        self.written_bytes = 0

    def __enter__(self) -> Self:
        try:
            self._write(base_format.prelude())
        except BaseException as error:
            if not self._stack.__exit__(type(error), error, error.__traceback__):
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        if kind is None and not self._finished:
            error = RuntimeError("a base was left before it was finished")
            self._stack.__exit__(RuntimeError, error, None)
            raise error
        return self._stack.__exit__(kind, error, traceback)

    def begin_table(self, name: str, width: int, state_width: int) -> None:
        """The sections that follow are of this table. Raises ShapeError out of order."""
        self._end_table()
        if self._footer.tables and name <= self._table:
            raise ShapeError(f"table {name!r} after {self._table!r}: write them in order")
        self._table = name
        self._footer.tables[name] = BaseTable(width, state_width)

    def write_section(self, end_bucket: int, *pieces: TableDelta) -> None:
        """The rows of all buckets from the last section's end to end_bucket, in several pieces."""
        shape = self._footer.tables[self._table]
        checksum = xxhash.xxh3_128()
        begin = self.written_bytes
        rows = sum(piece.fids.size for piece in pieces)
        widths = (1, 1, shape.width, shape.state_width)
        sizes = base_format.column_bytes(rows, shape.width, shape.state_width)
        for column, size in enumerate(sizes):
            for piece in pieces:
                array = (piece.fids, piece.last_seen_s, piece.weights, piece.state)[column]
                if array.size != piece.fids.size * widths[column]:
                    raise ShapeError(f"table {self._table!r} is of {shape.width} weights")
                self._write(_raw(array), checksum)
            self._write(bytes(base_format.padded(size) - size), checksum)
        self._add(end_bucket, rows, begin, checksum.digest())

    def copy_section(self, end_bucket: int, loaded: LoadedSection) -> None:
        """A section as it was in another base."""
        begin = self.written_bytes
        self._write(loaded.raw.data)
        self._add(end_bucket, loaded.section.rows, begin, loaded.section.checksum)

    def finish(self, head: Block) -> int:
        """Write the head, a base block at this file's cursor, and the footer; bytes of the file.

        Raises ShapeError where the head is another's.
        """
        self._end_table()
        if (head.base, head.shard, head.cursor) != (True, self._footer.shard, self._footer.cursor):
            raise ShapeError(f"head of shard {head.shard} at {head.cursor} for another base")
        checksum = xxhash.xxh3_128()
        begin = self.written_bytes
        for part in encoded_parts(head_of(head)):
            self._write(part, checksum)
        size = self.written_bytes - begin
        self._write(bytes(base_format.padded(size) - size), checksum)
        footer = replace(
            self._footer,
            model=head.model,
            head_bytes=size,
            head_checksum=checksum.digest(),
        )
        self._write(base_format.encode_footer(footer))
        self._finished = True
        return self.written_bytes

    def _end_table(self) -> None:
        table = self._footer.tables.get(self._table)
        if table is not None and (not table.sections or table.sections[-1].end_bucket < BUCKETS):
            self.write_section(BUCKETS)

    def _add(self, end_bucket: int, rows: int, begin: int, checksum: bytes) -> None:
        table = self._footer.tables[self._table]
        first = table.sections[-1].end_bucket if table.sections else 0
        section = Section(first, end_bucket, rows, begin, self.written_bytes - begin, checksum)
        self._footer.tables[self._table] = replace(table, sections=(*table.sections, section))

    def _write(self, part: bytes | memoryview, checksum: xxhash.xxh3_128 | None = None) -> None:
        if len(part):
            self._file.write(part)
            if checksum is not None:
                checksum.update(part)
            self.written_bytes += len(part)


def write_base(location: Location, block: Block) -> int:
    """Write a whole base block, such as Shard.export() returns, as a base file; its bytes.

    Raises ShapeError where the block is no base, StoreUnavailableError.
    """
    with BaseWriter(location, block.shard, block.cursor) as writer:
        for name, rows in sorted(block.tables.items()):
            width, state_width = rows.weights.shape[1], rows.state.shape[1]
            writer.begin_table(name, width, state_width)
            buckets = buckets_of(rows.fids)
            order: I64 = np.argsort(buckets, kind="stable")
            counts = np.bincount(buckets, minlength=BUCKETS)
            row_bytes = base_format.row_bytes(width, state_width)
            ends = cut(counts.astype(np.float64), row_bytes, 0, BUCKETS)
            begin = 0
            for end_bucket, end in zip(ends, np.cumsum(counts)[np.array(ends) - 1], strict=True):
                writer.write_section(end_bucket, _taken(rows, order[begin:end]))
                begin = end
        return writer.finish(block)


def _taken(rows: TableDelta, places: I64) -> TableDelta:
    return TableDelta(
        fids=rows.fids[places],
        last_seen_s=rows.last_seen_s[places],
        weights=rows.weights[places],
        state=rows.state[places],
        removed=rows.removed[:0],
    )


def _raw(array: npt.NDArray[Any]) -> memoryview:
    """The array's bytes; without a copy where it is contiguous."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
