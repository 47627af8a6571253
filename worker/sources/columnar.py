"""Parquet, Arrow IPC and Feather files: columns as they are stored, types and all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ps.stream import Span
from worker.errors import SourceError, SourceSpecError
from worker.events import EventChunk
from worker.sources.delimited import DEFAULT_CHUNK_ROWS
from worker.sources.files import READ_ERRORS, find_files
from worker.sources.records import too_short

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Protocol

    from worker.sources.files import DataFile

    class Pieces(Protocol):
        """A file's record batches from a record on: yields (ordinal of the first row, batch)."""

        def __call__(
            self, file: DataFile, select: list[str] | None, begin: int
        ) -> Iterator[tuple[int, pa.RecordBatch]]: ...


class ColumnarSource:
    """What all of them have in common: cutting stored batches into chunks of chunk_rows."""

    def __init__(
        self,
        path: str,
        pieces: Pieces,
        select: Sequence[str] | None,
        chunk_rows: int,
    ) -> None:
        if chunk_rows < 1:
            raise SourceSpecError(f"chunk_rows must be at least 1, not {chunk_rows}")
        self._pieces = pieces
        self._select = list(select) if select is not None else None
        self._chunk_rows = chunk_rows
        self._files = {file.partition: file for file in find_files(path)}

    def partitions(self) -> Sequence[str]:
        """One per file, sorted by name."""
        return list(self._files)

    def read(self, partition: str, begin: int) -> Iterator[EventChunk]:
        """Chunks of at most chunk_rows records from ordinal begin; see worker.events.Source."""
        file = self._files[partition]
        at = begin
        try:
            for first, batch in self._pieces(file, self._select, begin):
                for start in range(max(begin - first, 0), batch.num_rows, self._chunk_rows):
                    rows = batch.slice(start, self._chunk_rows)
                    at = first + start + rows.num_rows
                    span = Span(partition, at - rows.num_rows, at)
                    yield EventChunk(span, np.arange(span.begin, span.end), rows)
        except READ_ERRORS as error:
            raise SourceError(
                partition,
                at,
                f"{file.path} is not a whole file of its kind: {error}. Fetch or write it again",
            ) from error


class ParquetSource(ColumnarSource):
    """A Source over Parquet files.

    Row groups before begin are skipped unread. Memory: about one row group of the selected columns.
    path: file, folder or glob. select: the columns to hand over; None means all.
    """

    def __init__(
        self,
        path: str,
        *,
        select: Sequence[str] | None = None,
        chunk_rows: int = DEFAULT_CHUNK_ROWS,
    ) -> None:
        super().__init__(path, _parquet_pieces, select, chunk_rows)


class ArrowSource(ColumnarSource):
    """A Source over Arrow IPC files (Feather version 2 is the same).

    A local file is mapped into memory and its columns, unless stored compressed, are handed over
    without a copy; they stay valid as long as something refers to them.
    """

    def __init__(
        self,
        path: str,
        *,
        select: Sequence[str] | None = None,
        chunk_rows: int = DEFAULT_CHUNK_ROWS,
    ) -> None:
        super().__init__(path, _arrow_pieces, select, chunk_rows)


def _parquet_pieces(
    file: DataFile, select: list[str] | None, begin: int
) -> Iterator[tuple[int, pa.RecordBatch]]:
    with file.open() as raw:
        stored = pq.ParquetFile(raw)
        check_contents(file, stored.metadata.num_rows, begin, stored.schema_arrow.names, select)
        first = 0
        for group in range(stored.num_row_groups):
            n = stored.metadata.row_group(group).num_rows
            if first + n > begin:
                done = first
                for batch in stored.iter_batches(row_groups=[group], columns=select):
                    yield done, batch
                    done += batch.num_rows
            first += n


def _arrow_pieces(
    file: DataFile, select: list[str] | None, begin: int
) -> Iterator[tuple[int, pa.RecordBatch]]:
    if file.local_path is not None:
        source: pa.NativeFile = pa.memory_map(file.local_path)
    else:
        source = pa.BufferReader(file.open().read())
    with source, pa.ipc.open_file(source) as stored:
        sizes = [stored.get_batch(i).num_rows for i in range(stored.num_record_batches)]
        check_contents(file, sum(sizes), begin, stored.schema.names, select)
        first = 0
        for i, n in enumerate(sizes):
            if first + n > begin:
                batch = stored.get_batch(i)
                yield first, batch if select is None else batch.select(select)
            first += n


def check_contents(
    file: DataFile, total: int, begin: int, names: list[str], select: list[str] | None
) -> None:
    """Refuse a file without records, or that ends before begin, or lacks a column (SourceError)."""
    if missing := [name for name in select or [] if name not in names]:
        raise SourceError(
            file.partition,
            0,
            f"{file.path} has no column {', '.join(missing)}; it has {', '.join(names)}",
        )
    if total == 0:
        raise SourceError(file.partition, 0, f"{file.path} holds no records; remove or refill it")
    if begin > total:
        raise SourceError(file.partition, begin, too_short(file.path, total))
