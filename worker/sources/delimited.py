"""CSV, TSV and their kin: one record a line, fields set apart by a delimiter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.errors import SourceError, SourceSpecError
from worker.sources.delimited_format import DelimitedFormat
from worker.sources.delimited_parser import RecordParser, split_fields
from worker.sources.files import find_files
from worker.sources.records import first_line, read_records

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from worker.events import EventChunk
    from worker.sources.files import DataFile

DEFAULT_CHUNK_ROWS = 8_192


class DelimitedSource:
    """A Source over delimited files, plain or compressed; every column comes out as pa.string().

    An empty field is the empty string, never null: features decide what it means. A record with a
    wrong number of fields, an undecodable byte, a NUL byte or an unclosed quote is rejected.
    Memory: about chunk_rows records.

    path: file, folder or glob. select: the columns to hand over, in this order; None means all.
    """

    def __init__(
        self,
        path: str,
        file_format: DelimitedFormat | None = None,
        *,
        select: Sequence[str] | None = None,
        chunk_rows: int = DEFAULT_CHUNK_ROWS,
    ) -> None:
        if chunk_rows < 1:
            raise SourceSpecError(f"chunk_rows must be at least 1, not {chunk_rows}")
        self._format = file_format or DelimitedFormat()
        self._select = select
        self._chunk_rows = chunk_rows
        self._files = {file.partition: file for file in find_files(path)}

    def partitions(self) -> Sequence[str]:
        """One per file, sorted by name."""
        return list(self._files)

    def columns(self, partition: str) -> list[str]:
        """The names of all fields of a partition. Raises SourceError where there are none."""
        return _field_names(self._files[partition], self._format)

    def read(self, partition: str, begin: int) -> Iterator[EventChunk]:
        """Chunks of chunk_rows records from ordinal begin; see worker.events.Source."""
        file = self._files[partition]
        names = _field_names(file, self._format)
        selected = list(self._select if self._select is not None else names)
        if missing := [name for name in selected if name not in names]:
            raise SourceError(
                partition,
                0,
                f"{file.path} has no column {', '.join(missing)}; it has {', '.join(names)}. "
                "If its first line is no header, set header: false and give columns",
            )
        parser = RecordParser(partition, self._format, names, selected)
        for text in read_records(
            file,
            self._format.framing,
            header_lines=int(self._format.header),
            begin=begin,
            chunk_rows=self._chunk_rows,
        ):
            yield parser.parse(text)


def _field_names(file: DataFile, file_format: DelimitedFormat) -> list[str]:
    if file_format.columns is not None:
        names = list(file_format.columns)
    else:
        line = first_line(file, file_format.framing)
        try:
            header = line.decode(file_format.encoding)
        except UnicodeDecodeError as error:
            raise SourceError(
                file.partition,
                0,
                f"the header of {file.path} is not {file_format.encoding}: {error}",
            ) from error
        names = split_fields(header, file_format)
        if file_format.typed_header:
            names = [name.partition(":")[0] for name in names]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SourceError(
            file.partition,
            0,
            f"{file.path} names a column twice: {', '.join(twice)}. If its first line is no "
            "header, set header: false and give columns",
        )
    return names
