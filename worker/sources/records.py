"""Cutting a stream of bytes into text records with exact ordinals, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from worker.errors import SourceError
from worker.events import Rejected
from worker.sources.files import BrokenStreamError, read_blocks

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from ps.arrays import I64
    from worker.sources.files import DataFile

_NEWLINE = 10
_RETURN = 13
_BOM = b"\xef\xbb\xbf"
# A chunk of unusually long records ends early, so that memory stays bounded by bytes too.
_MAX_CHUNK_BYTES = 64 << 20
# How much of a record the dead-letter file gets to see.
REJECTED_TEXT_BYTES = 1_000


@dataclass(frozen=True, slots=True)
class RecordText:
    """Records begin to end of a partition, as text.

    data: the lines, each ended by a newline, none blank. offsets: int64[n], of each line of data.
    rejected: records of the span that are not in data.
    """

    begin: int
    end: int
    data: bytes
    offsets: I64
    rejected: list[Rejected] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Framing:
    """Where a record ends.

    quote: a quote character within which newlines belong to the record, or None: every line is a
    record. max_record_bytes: longer records are rejected without being held in memory.
    """

    quote: str | None = None
    max_record_bytes: int = 1 << 20

    @property
    def too_long(self) -> str:
        """Why a record is rejected that exceeds the limit."""
        return f"longer than {self.max_record_bytes} bytes"


@dataclass(slots=True)
class _Cut:
    """Complete records found in data: record i is data[starts[i]:ends[i]].

    Where refused says why, it is one record that was given up, and data its beginning.
    """

    data: bytes
    starts: I64
    ends: I64
    refused: str | None = None


def printable(record: bytes) -> str:
    """A record for human eyes: decoded where possible, cut to REJECTED_TEXT_BYTES."""
    return record[:REJECTED_TEXT_BYTES].decode("utf-8", "backslashreplace").rstrip("\r\n")


def split_records(data: bytes, framing: Framing) -> list[bytes]:
    """The records of RecordText.data one by one, each with its line end."""
    starts, ends, _ = _boundaries(data, framing.quote)
    return [data[s : e + 1] for s, e in zip(starts.tolist(), ends.tolist(), strict=True)]


def first_line(file: DataFile, framing: Framing) -> bytes:
    """The first non-blank record, without its line end. Raises SourceError where there is none."""
    try:
        for cut in _cut_records(file, framing):
            if len(cut.starts):
                return cut.data[cut.starts[0] : cut.ends[0]].rstrip(b"\r")
    except BrokenStreamError as error:
        raise SourceError(file.partition, 0, _broken(file, error)) from error
    raise SourceError(file.partition, 0, f"{file.path} is empty; remove it or wait for its data")


def read_records(
    file: DataFile, framing: Framing, *, header_lines: int, begin: int, chunk_rows: int
) -> Iterator[RecordText]:
    """Records from ordinal begin on, chunk_rows at a time (fewer where they are very long).

    header_lines records at the top are not counted. Blank lines are no records. Skipping reads.
    Raises SourceError for an empty or damaged file, after what was whole has been yielded.
    """
    pending = _Pending(file.partition, begin)
    ordinal = -header_lines
    broken: BrokenStreamError | None = None
    try:
        for cut in _cut_records(file, framing):
            n = len(cut.starts)
            at = max(begin - ordinal, 0)
            while at < n:
                until = min(at + chunk_rows - pending.count, n)
                pending.add(cut, at, until)
                at = until
                if pending.count == chunk_rows or pending.n_bytes >= _MAX_CHUNK_BYTES:
                    yield pending.take()
            ordinal += n
    except BrokenStreamError as error:
        broken = error
    if pending.count:
        yield pending.take()
    total = max(ordinal, 0)
    if broken is not None:
        raise SourceError(file.partition, total, _broken(file, broken)) from broken
    if total == 0:
        raise SourceError(
            file.partition, 0, f"{file.path} holds no records; remove it or refill it"
        )
    if begin > total:
        raise SourceError(file.partition, begin, too_short(file.path, total))


def too_short(path: str, total: int) -> str:
    """What to say of a position that lies beyond the end of its file."""
    return (
        f"{path} holds only {total} records: it was cut or replaced after this position was "
        "reached; restore the file, or start again from an empty state"
    )


def _broken(file: DataFile, error: BrokenStreamError) -> str:
    return (
        f"{file.path} is truncated or damaged from here on ({error}); the records before are good. "
        "Fetch the file again"
    )


class _Pending:
    """The records of the chunk being put together."""

    def __init__(self, partition: str, begin: int) -> None:
        self._partition = partition
        self._begin = begin
        self._reset()

    def _reset(self) -> None:
        self.count = 0
        self.n_bytes = 0
        self._pieces: list[bytes] = []
        self._offsets: list[I64] = []
        self._rejected: list[Rejected] = []

    def add(self, cut: _Cut, at: int, until: int) -> None:
        """Take over records at to until of cut."""
        offset = self._begin + self.count
        self.count += until - at
        if cut.refused is not None:
            text = printable(cut.data)
            self._rejected.append(Rejected(self._partition, offset, cut.refused, text))
            return
        starts, ends = cut.starts[at:until], cut.ends[at:until]
        if np.array_equal(starts[1:], ends[:-1] + 1):
            piece = cut.data[starts[0] : ends[-1] + 1]
        else:  # blank lines in between
            piece = b"".join(cut.data[s : e + 1] for s, e in zip(starts, ends, strict=True))
        self._pieces.append(piece)
        self._offsets.append(np.arange(offset, offset + until - at))
        self.n_bytes += len(piece)

    def take(self) -> RecordText:
        """Hand over what was gathered and begin the next chunk."""
        end = self._begin + self.count
        offsets = np.concatenate(self._offsets) if self._offsets else np.empty(0, np.int64)
        chunk = RecordText(self._begin, end, b"".join(self._pieces), offsets, self._rejected)
        self._begin = end
        self._reset()
        return chunk


def _cut_records(file: DataFile, framing: Framing) -> Iterator[_Cut]:
    """Complete records in file order; data always ends with a newline."""
    rest = b""
    head: bytes | None = None  # of a line too long to hold, until its end is found
    for i, block in enumerate(read_blocks(file)):
        if i == 0:
            block = block.removeprefix(_BOM)
        if head is not None:
            end = block.find(b"\n")
            if end < 0:
                continue
            yield _given_up(head, framing.too_long)
            head = None
            block = block[end + 1 :]
        rest = yield from _cut_block(rest + block, framing, framing.max_record_bytes)
        if len(rest) > framing.max_record_bytes:
            head, rest = rest, b""
    if head is not None:
        yield _given_up(head, framing.too_long)
    elif rest:
        yield from _cut_block(rest if rest.endswith(b"\n") else rest + b"\n", framing, 0)


def _cut_block(data: bytes, framing: Framing, limit: int) -> Generator[_Cut, None, bytes]:
    """Cut what can be cut; the rest, returned, is one unfinished line or at most limit bytes."""
    while True:
        starts, ends, rest_at = _boundaries(data, framing.quote)
        yield from _separate_long(data, starts, ends, framing)
        data = data[rest_at:]
        line_end = data.find(b"\n")
        if len(data) <= limit or line_end < 0:
            return data
        # A quote that is never closed swallowed whole lines: give up its line, keep the others.
        yield _given_up(data[:line_end], "quote that is never closed")
        data = data[line_end + 1 :]


def _boundaries(data: bytes, quote: str | None) -> tuple[I64, I64, int]:
    """Starts and ends of the records that are whole and not blank, and where the rest begins."""
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw == _NEWLINE)
    if quote is not None and quote.encode() in data:
        quotes = np.flatnonzero(raw == ord(quote))
        ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
    if not len(ends):
        return ends, ends, 0
    rest_at = int(ends[-1]) + 1
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])
    lengths = ends - starts
    blank = (lengths == 0) | ((lengths == 1) & (raw[starts] == _RETURN))
    return starts[~blank], ends[~blank], rest_at


def _separate_long(data: bytes, starts: I64, ends: I64, framing: Framing) -> Iterator[_Cut]:
    done = 0
    for i in np.flatnonzero(ends - starts > framing.max_record_bytes):
        if i > done:
            yield _Cut(data, starts[done:i], ends[done:i])
        yield _given_up(data[starts[i] : ends[i]], framing.too_long)
        done = int(i) + 1
    if done < len(starts):
        yield _Cut(data, starts[done:], ends[done:])


def _given_up(record: bytes, why: str) -> _Cut:
    return _Cut(record[:REJECTED_TEXT_BYTES], np.zeros(1, np.int64), np.ones(1, np.int64), why)
