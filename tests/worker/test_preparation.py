"""From raw records to batches: what is no good leaves both the chunk and the batch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import FeatureError
from ps.clock import ManualClock
from tests.worker.learning import EXAMPLES, chunk
from tests.worker.streams import ListSource, consistent
from worker.event_time_guard import EventTimeGuard
from worker.preparation import prepare
from worker.sources.again import Again

if TYPE_CHECKING:
    from worker.events import EventChunk
    from worker.preparation import Prepared

SECOND = 1_000_000


def changed(good: EventChunk, column: str, values: dict[int, object]) -> EventChunk:
    """The chunk with other values in some rows of a column."""
    names = good.columns.schema.names
    listed = good.columns.column(column).to_pylist()
    for row, value in values.items():
        listed[row] = value
    arrays = [good.columns.column(name) for name in names]
    arrays[names.index(column)] = pa.array(listed, good.columns.schema.field(column).type)
    return replace(good, columns=pa.RecordBatch.from_arrays(arrays, names=names))


def check(one: Prepared, original: EventChunk, bad: set[int]) -> None:
    """Row i of chunk and batch is the same example; all others are rejected with a reason."""
    consistent(one.chunk)
    expected = [offset for offset in original.offsets.tolist() if offset not in bad]
    assert one.chunk.span == one.batch.span == original.span
    assert one.batch.offsets is not None
    assert one.chunk.offsets.tolist() == one.batch.offsets.tolist() == expected
    assert one.batch.size == len(expected)
    assert {r.offset for r in one.chunk.rejected} == bad
    assert all(r.reason for r in one.chunk.rejected)
    identities = [fid & ((1 << 48) - 1) for fid in one.batch.columns["user"].fids.tolist()]
    assert identities == one.chunk.columns.column("user").to_pylist()
    assert one.batch.event_ts_us.tolist() == one.chunk.columns.column("ts").to_pylist()


@given(
    bad_labels=st.sets(st.integers(0, 29), max_size=30),
    jumps=st.sets(st.integers(1, 29), max_size=10),
)
def test_bad_values_and_impossible_times_leave_both(bad_labels: set[int], jumps: set[int]) -> None:
    raw = changed(chunk(100, 130), "click", dict.fromkeys(bad_labels, 7))
    far = {row: (10_000 + 5_000 * row) * SECOND for row in jumps}
    raw = changed(raw, "ts", dict(far))
    guard = EventTimeGuard(60 * SECOND, clock_us=100 * SECOND)
    [one] = prepare([raw], EXAMPLES, guard, ManualClock(5))
    check(one, raw, {100 + row for row in bad_labels | jumps})
    assert one.batch.ingest_us == 5


def test_the_guard_remembers_from_chunk_to_chunk() -> None:
    late = changed(chunk(10, 20), "ts", {0: 900 * SECOND})
    guard = EventTimeGuard(60 * SECOND)
    first, second = prepare([chunk(0, 10), late], EXAMPLES, guard, ManualClock())
    check(first, chunk(0, 10), set())
    check(second, late, {10})
    assert guard.clock_us == 19 * SECOND


def test_every_batch_carries_what_the_guard_knew_after_it() -> None:
    guard, again = EventTimeGuard(60 * SECOND), EventTimeGuard(60 * SECOND)
    late = changed(chunk(10, 20), "ts", {0: 900 * SECOND})
    ahead = list(prepare([chunk(0, 10), late, chunk(20, 25)], EXAMPLES, guard, ManualClock()))
    states = [one.guard for one in ahead]
    assert states[-1] == guard.state
    for one, state in zip(([chunk(0, 10)], [late], [chunk(20, 25)]), states, strict=True):
        list(prepare(one, EXAMPLES, again, ManualClock()))
        assert again.state == state
    assert [one.guard for one in prepare([late], EXAMPLES, None, ManualClock())] == [None]


def test_without_a_guard_any_time_will_do() -> None:
    raw = changed(chunk(0, 5), "ts", {1: 900_000 * SECOND, 2: 0})
    [one] = prepare([raw], EXAMPLES, None, ManualClock())
    check(one, raw, set())


def test_chunks_without_rows_keep_their_span() -> None:
    raw = chunk(0, 4)
    empty = replace(raw, offsets=raw.offsets[:0], columns=raw.columns.slice(0, 0))
    nothing_good = changed(chunk(4, 8), "click", dict.fromkeys(range(4), 5))
    first, second = prepare([empty, nothing_good], EXAMPLES, EventTimeGuard(1), ManualClock())
    assert (first.batch.size, first.batch.span) == (0, raw.span)
    check(second, nothing_good, {4, 5, 6, 7})


def test_each_batch_is_stamped_when_it_was_read() -> None:
    clock = ManualClock(1)
    stamps = []
    for one in prepare([chunk(0, 2), chunk(2, 4)], EXAMPLES, None, clock):
        stamps.append(one.batch.ingest_us)
        clock.advance_s(2)
    assert stamps == [1, 2_000_001]


def test_a_missing_column_is_the_jobs_fault() -> None:
    raw = chunk(0, 4)
    with pytest.raises(FeatureError, match="age"):
        list(
            prepare(
                [replace(raw, columns=raw.columns.drop_columns(["age"]))],
                EXAMPLES,
                None,
                ManualClock(),
            )
        )


def test_another_pass_is_another_stretch_of_stream() -> None:
    source = ListSource({"a": 7, "b": 5}, [3], frozenset({2}))
    again = Again(source, 2)
    assert again.partitions() == ["a#2", "b#2"]
    for name in ("a", "b"):
        for begin in (0, 4):
            plain, twice = list(source.read(name, begin)), list(again.read(f"{name}#2", begin))
            assert len(plain) == len(twice)
            for one, other in zip(plain, twice, strict=True):
                consistent(other)
                assert other.span == replace(one.span, partition=f"{name}#2")
                assert np.array_equal(other.offsets, one.offsets)
                assert other.columns is one.columns or other.columns.equals(one.columns)
                assert {r.partition for r in other.rejected} <= {f"{name}#2"}
