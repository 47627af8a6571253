"""JSON lines: one object a line, its members as columns of a fixed type."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from ps.stream import Span
from worker.errors import SourceSpecError
from worker.events import EventChunk, Rejected
from worker.sources.delimited import DEFAULT_CHUNK_ROWS
from worker.sources.files import find_files
from worker.sources.json_columns import ColumnTypes, flattened, infer_types
from worker.sources.records import Framing, RecordText, printable, read_records, split_records

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from worker.sources.files import DataFile


class JsonLinesSource:
    """A Source over files of JSON lines, plain or compressed.

    Members of nested objects are columns with dotted names ("user.id"); a member that is missing or
    null is null. A line that is no JSON object, or whose members do not fit the columns' types, is
    rejected. Members that are no column are left out. Memory: about chunk_rows records.

    columns: names and types (pa.int64(), pa.float64(), pa.bool_(), pa.string(), or a list of one);
    None takes them from the first sample_records records of each file, wherever reading begins, so
    that a column means the same all through it.
    """

    def __init__(
        self,
        path: str,
        *,
        columns: Mapping[str, pa.DataType] | None = None,
        sample_records: int = 1_000,
        chunk_rows: int = DEFAULT_CHUNK_ROWS,
        max_record_bytes: int = 1 << 20,
    ) -> None:
        if chunk_rows < 1 or sample_records < 1:
            raise SourceSpecError("chunk_rows and sample_records must be at least 1")
        self._columns = ColumnTypes(dict(columns)) if columns is not None else None
        self._sample_records = sample_records
        self._chunk_rows = chunk_rows
        self._framing = Framing(max_record_bytes=max_record_bytes)
        self._files = {file.partition: file for file in find_files(path)}

    def partitions(self) -> Sequence[str]:
        """One per file, sorted by name."""
        return list(self._files)

    def read(self, partition: str, begin: int) -> Iterator[EventChunk]:
        """Chunks of chunk_rows records from ordinal begin; see worker.events.Source."""
        file = self._files[partition]
        types = self._columns or self._inferred(file)
        for text in self._text(file, begin, self._chunk_rows):
            yield _parsed(partition, text, types)

    def _text(self, file: DataFile, begin: int, chunk_rows: int) -> Iterator[RecordText]:
        return read_records(file, self._framing, header_lines=0, begin=begin, chunk_rows=chunk_rows)

    def _inferred(self, file: DataFile) -> ColumnTypes:
        head = next(self._text(file, 0, self._sample_records))
        records = [_object(line) for line in split_records(head.data, self._framing)]
        return infer_types(record for record in records if not isinstance(record, str))


def _parsed(partition: str, text: RecordText, types: ColumnTypes) -> EventChunk:
    rejected = list(text.rejected)
    lines = split_records(text.data, Framing())
    found: list[dict[str, Any]] = []
    places: list[int] = []
    for i, line in enumerate(lines):
        record = _object(line)
        if isinstance(record, str):
            rejected.append(Rejected(partition, int(text.offsets[i]), record, printable(line)))
            continue
        found.append(record)
        places.append(i)
    misfits = types.misfits(found)
    for k, reason in misfits.items():
        i = places[k]
        rejected.append(Rejected(partition, int(text.offsets[i]), reason, printable(lines[i])))
    good = [k for k in range(len(found)) if k not in misfits]
    return EventChunk(
        Span(partition, text.begin, text.end),
        text.offsets[[places[k] for k in good]] if good else np.empty(0, np.int64),
        types.to_columns([found[k] for k in good]),
        sorted(rejected, key=lambda r: r.offset),
    )


def _object(line: bytes) -> dict[str, Any] | str:
    """The members of the object on this line by flat name, or why there is none."""
    try:
        value = json.loads(line)
    except UnicodeDecodeError:
        return "not utf-8 text"
    except (ValueError, RecursionError):
        return "not JSON"
    if not isinstance(value, dict):
        return "not a JSON object"
    return flattened(value)
