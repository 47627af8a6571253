"""Delimited text to columns, by Arrow's CSV parser, with every bad record found and named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc

from ps.stream import Span
from worker.arrow import one_batch, readable
from worker.events import EventChunk, Rejected
from worker.sources.records import printable, split_records

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ps.arrays import I64
    from worker.sources.delimited_format import DelimitedFormat
    from worker.sources.records import RecordText

# Stands in for a delimiter of several characters while Arrow, which knows only single ones, parses.
_UNIT_SEPARATOR = "\x1f"


# A record that has no row: its index within the chunk, the reason, its text.
_Bad = tuple[int, str, str]


class RecordParser:
    """Turns RecordText into EventChunks of one schema.

    Arrow parses a chunk in one go. Should it find another number of records than there are (a stray
    quote swallows line ends), the chunk is halved until the culprits stand alone and are rejected.
    """

    def __init__(
        self, partition: str, file_format: DelimitedFormat, names: list[str], select: Sequence[str]
    ) -> None:
        self._partition = partition
        self._format = file_format
        self._names = names
        self._sentinel = _single(file_format.delimiter).join("0" * len(names)).encode() + b"\n"
        self._empty = pa.schema([pa.field(name, pa.string()) for name in select]).empty_table()
        self._convert = pc.ConvertOptions(
            check_utf8=False,  # screened before
            column_types=dict.fromkeys(names, pa.string()),
            strings_can_be_null=False,
            include_columns=list(select),
        )

    def parse(self, text: RecordText) -> EventChunk:
        """The chunk of these records; nothing raises, what cannot be parsed is rejected."""
        bad: list[_Bad] = []
        data, kept = self._screen(text.data, len(text.offsets), bad)
        tables = self._parse(data, kept, bad)
        columns = one_batch(pa.concat_tables([self._empty, *tables]))
        rejected = [
            *text.rejected,
            *(Rejected(self._partition, int(text.offsets[i]), why, what) for i, why, what in bad),
        ]
        good = np.ones(len(text.offsets), np.bool_)
        good[[i for i, _, _ in bad]] = False
        return EventChunk(
            Span(self._partition, text.begin, text.end),
            text.offsets[good],
            columns,
            sorted(rejected, key=lambda r: r.offset),
        )

    def _screen(self, data: bytes, n: int, bad: list[_Bad]) -> tuple[bytes, I64]:
        """UTF-8 text of the records that are text at all, and which of the n these are."""
        try:
            decoded = data.decode(self._format.encoding)
            if self._forbidden(decoded) is None:
                return self._prepared(decoded), np.arange(n)
        except UnicodeDecodeError:
            pass
        lines: list[str] = []
        kept: list[int] = []
        for i, record in enumerate(split_records(data, self._format.framing)):
            try:
                line = record.decode(self._format.encoding)
            except UnicodeDecodeError:
                bad.append((i, f"not {self._format.encoding} text", printable(record)))
                continue
            if reason := self._forbidden(line):
                bad.append((i, reason, printable(record)))
                continue
            lines.append(line)
            kept.append(i)
        return self._prepared("".join(lines)), np.array(kept, np.int64)

    def _forbidden(self, text: str) -> str | None:
        """Why a text cannot be parsed safely, None where it can."""
        if "\0" in text:
            return "NUL byte"
        if len(self._format.delimiter) > 1 and _UNIT_SEPARATOR in text:
            return "unit separator in the data"
        return None

    def _prepared(self, text: str) -> bytes:
        delimiter = self._format.delimiter
        if len(delimiter) > 1:
            text = text.replace(delimiter, _UNIT_SEPARATOR)
        return text.encode()

    def _parse(self, data: bytes, indices: I64, bad: list[_Bad]) -> list[pa.Table]:
        """Tables of the good records of data, in order; record k of data is number indices[k]."""
        n = len(indices)
        if n == 0:
            return []
        wrong: list[_Bad] = []
        table = self._parse_whole(data, indices, wrong)
        if table is not None and table.num_rows + len(wrong) == n + 1:
            bad += wrong
            return [table.slice(0, table.num_rows - 1)]
        if n == 1:
            text = self._restored(printable(data))
            bad.append((int(indices[0]), "unclosed quote or stray carriage return", text))
            return []
        records = split_records(data, self._format.framing)
        half = n // 2
        return [
            *self._parse(b"".join(records[:half]), indices[:half], bad),
            *self._parse(b"".join(records[half:]), indices[half:], bad),
        ]

    def _parse_whole(self, data: bytes, indices: I64, wrong: list[_Bad]) -> pa.Table | None:
        """One go of Arrow's parser; None where it fails or a lone carriage return may mislead it.

        A sentinel record is appended, and comes out as the last row: should it not, then the last
        of data has an opened quote, which Arrow would close by itself.
        """
        data += self._sentinel
        if data.count(b"\r") != data.count(b"\r\n"):
            return None

        def skip(row: pc.InvalidRow) -> Literal["skip", "error"]:
            if row.number is None or row.number > len(indices):
                return "error"
            reason = f"{row.actual_columns} fields where {row.expected_columns} are expected"
            text = self._restored(printable((row.text or "").encode()))
            wrong.append((int(indices[row.number - 1]), reason, text))
            return "skip"

        try:
            return pc.read_csv(
                readable(data),
                read_options=pc.ReadOptions(
                    use_threads=False,
                    column_names=self._names,
                    block_size=len(data) + 1,  # all in one block, where row numbers are known
                ),
                parse_options=parse_options(self._format, skip),
                convert_options=self._convert,
            )
        except pa.ArrowInvalid:
            return None

    def _restored(self, text: str) -> str:
        delimiter = self._format.delimiter
        return text.replace(_UNIT_SEPARATOR, delimiter) if len(delimiter) > 1 else text


def parse_options(
    file_format: DelimitedFormat,
    on_invalid: Callable[[pc.InvalidRow], Literal["skip", "error"]] | None = None,
) -> pc.ParseOptions:
    """Arrow's options for this format; Arrow's own search for record ends is not relied upon."""
    return pc.ParseOptions(
        delimiter=_single(file_format.delimiter),
        quote_char=file_format.quote if file_format.quote is not None else False,
        newlines_in_values=True,
        ignore_empty_lines=False,
        invalid_row_handler=on_invalid,
    )


def split_fields(line: str, file_format: DelimitedFormat) -> list[str]:
    """The fields of one line, by the parser that reads the records."""
    if file_format.quote is None:
        return line.split(file_format.delimiter)
    table = pc.read_csv(
        readable(line.encode() + b"\n"),
        read_options=pc.ReadOptions(use_threads=False, autogenerate_column_names=True),
        parse_options=parse_options(file_format),
        convert_options=pc.ConvertOptions(
            column_types={
                f"f{i}": pa.string() for i in range(line.count(file_format.delimiter) + 1)
            }
        ),
    )
    return [str(column[0].as_py()) for column in table.itercolumns()]


def _single(delimiter: str) -> str:
    return delimiter if len(delimiter) == 1 else _UNIT_SEPARATOR
