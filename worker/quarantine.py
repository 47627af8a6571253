"""The dead-letter file: what could not be learned from, where it stood and why."""

from __future__ import annotations

import json
import logging
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ps.stream import Span
    from worker.events import Rejected

_log = logging.getLogger(__name__)
# Reasons are meant to be few; should some carry data after all, the rest share one counter.
_MAX_REASONS = 200
OTHER_REASONS = "(other reasons)"


class _Marks(NamedTuple):
    """By partition, how far the lines for records and those for batches go."""

    records: dict[str, int]
    batches: dict[str, int]


class _Line(NamedTuple):
    """A line for the file; once it is written, marks[partition] is upto."""

    marks: dict[str, int]
    partition: str
    upto: int
    text: str


@dataclass(frozen=True, slots=True)
class QuarantineState:
    """What was counted up to some place of the stream.

    counted_upto, dropped_upto: by partition, where the last rejected record and the last dropped
    batch ended.
    """

    records: int = 0
    dropped_batches: int = 0
    dropped_positions: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    counted_upto: Mapping[str, int] = field(default_factory=dict)
    dropped_upto: Mapping[str, int] = field(default_factory=dict)


class Quarantine:
    """Counts rejected records by reason and writes them as JSON lines.

    A line is {"partition", "offset", "reason", "record"}, or for a batch that was dropped whole
    {"partition", "begin", "end", "reason"}. path: None counts only. max_bytes: what the file may
    grow to; beyond it records are counted but not written.

    A partition's records must come in the order of their offsets; those below what was already
    counted are a replay and are left out. An existing file is gone on with, its counts and positions
    included, so that a restarted worker does not count twice either.

    Where a state is restored, its counts and positions take the place of the file's: a run that goes
    back to an earlier place counts from there. The file stays as it is, a log of everything seen:
    what stands in it is not written again, wherever the run goes back to; and what is rejected at a
    second reading only is counted and not written.

    A disk that fails does not stop learning: the failure is logged once and counted in
    write_errors, and counting goes on.
    """

    def __init__(self, path: Path | str | None = None, *, max_bytes: int = 256 << 20) -> None:
        self.records = 0
        self.dropped_batches = 0
        self.dropped_positions = 0
        self.unwritten = 0
        self.write_errors = 0
        self._path = Path(path) if path is not None else None
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._reasons: Counter[str] = Counter()
        self._counted_upto: dict[str, int] = {}
        self._dropped_upto: dict[str, int] = {}
        # How far the file goes, which a restored state may well be behind.
        self._written = _Marks({}, {})
        self._torn = False
        if self._path is not None:
            self._go_on(self._path)

    @property
    def reasons(self) -> Mapping[str, int]:
        """Records by reason, the most frequent first."""
        return dict(self._reasons.most_common())

    @property
    def state(self) -> QuarantineState:
        """What was counted so far: a copy."""
        return QuarantineState(
            self.records,
            self.dropped_batches,
            self.dropped_positions,
            dict(self._reasons),
            dict(self._counted_upto),
            dict(self._dropped_upto),
        )

    def restore(self, state: QuarantineState) -> None:
        """Count on from there, in place of what was counted; the file is left alone."""
        self.records = state.records
        self.dropped_batches = state.dropped_batches
        self.dropped_positions = state.dropped_positions
        self._reasons = Counter(state.reasons)
        self._counted_upto = dict(state.counted_upto)
        self._dropped_upto = dict(state.dropped_upto)

    def add(self, rejected: Iterable[Rejected]) -> int:
        """Take in the rejected records of one batch; how many of them are new."""
        ordered = sorted(rejected, key=lambda r: (r.partition, r.offset))
        new = [r for r in ordered if self._count(r.partition, r.offset, r.reason)]
        marks = self._written.records
        self._write(
            [
                _Line(
                    marks,
                    r.partition,
                    r.offset + 1,
                    _json(partition=r.partition, offset=r.offset, reason=r.reason, record=r.record),
                )
                for r in new
                if r.offset >= marks.get(r.partition, 0)
            ]
        )
        return len(new)

    def drop_batch(self, span: Span, reason: str) -> bool:
        """Take note of a batch that was not learned from at all; False where it is a replay."""
        if not self._count_batch(span.partition, span.begin, span.end, reason):
            return False
        marks = self._written.batches
        if span.begin >= marks.get(span.partition, 0):
            text = _json(partition=span.partition, begin=span.begin, end=span.end, reason=reason)
            self._write([_Line(marks, span.partition, span.end, text)])
        return True

    def _count(self, partition: str, offset: int, reason: str) -> bool:
        if offset < self._counted_upto.get(partition, 0):
            return False
        self._counted_upto[partition] = offset + 1
        self.records += 1
        self._count_reason(reason)
        return True

    def _count_batch(self, partition: str, begin: int, end: int, reason: str) -> bool:
        if begin < self._dropped_upto.get(partition, 0):
            return False
        self._dropped_upto[partition] = end
        self.dropped_batches += 1
        self.dropped_positions += end - begin
        self._count_reason(reason)
        return True

    def _count_reason(self, reason: str) -> None:
        if reason not in self._reasons and len(self._reasons) >= _MAX_REASONS:
            reason = OTHER_REASONS
        self._reasons[reason] += 1

    def _write(self, lines: Sequence[_Line]) -> None:
        if self._path is None or not lines:
            return
        data = ("\n" if self._torn else "").encode()
        written = 0
        for line in lines:
            encoded = line.text.encode() + b"\n"
            if self._n_bytes + len(data) + len(encoded) > self._max_bytes:
                break
            data += encoded
            written += 1
        self.unwritten += len(lines) - written
        if not written:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(data)
        except OSError as error:
            self._failed("write", error)
            self.unwritten += written
            self._torn = True  # the line may have been written in part
            return
        self._torn = False
        self._n_bytes += len(data)
        for line in lines[:written]:
            line.marks[line.partition] = line.upto

    def _failed(self, what: str, error: OSError) -> None:
        if self.write_errors == 0:
            _log.error(
                "cannot %s the dead-letter file %s: %s; rejected records are counted only, "
                "free the disk or correct the path",
                what,
                self._path,
                error,
            )
        self.write_errors += 1

    def _go_on(self, path: Path) -> None:
        try:
            if not path.exists():
                return
            with path.open("rb") as file:
                for line in file:
                    self._n_bytes += len(line)
                    self._torn = not line.endswith(b"\n")
                    self._recall(line)
        except OSError as error:
            self._failed("read", error)

    def _recall(self, line: bytes) -> None:
        try:
            entry = json.loads(line)
            partition, reason = str(entry["partition"]), str(entry["reason"])
            if "offset" in entry:
                if self._count(partition, int(entry["offset"]), reason):
                    self._written.records[partition] = int(entry["offset"]) + 1
            elif self._count_batch(partition, int(entry["begin"]), int(entry["end"]), reason):
                self._written.batches[partition] = int(entry["end"])
        except (ValueError, KeyError, TypeError):
            _log.warning("the dead-letter file %s holds a torn line; it is left out", self._path)


def bounded(reasons: Counter[str]) -> dict[str, int]:
    """Counts by reason, the rarest of too many under OTHER_REASONS."""
    if len(reasons) <= _MAX_REASONS:
        return dict(reasons)
    named = [reason for reason in reasons if reason != OTHER_REASONS]
    kept = sorted(named, key=lambda reason: (-reasons[reason], reason))[: _MAX_REASONS - 1]
    counts = {reason: reasons[reason] for reason in kept}
    return {**counts, OTHER_REASONS: reasons.total() - sum(counts.values())}


def _json(**entry: Any) -> str:
    return json.dumps(entry, ensure_ascii=False)
