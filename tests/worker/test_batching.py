"""Batches cover every position exactly once, whatever the chunks."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.worker.streams import ListSource, consistent
from worker.batching import batches, interleaved
from worker.errors import SourceError

if TYPE_CHECKING:
    from worker.events import EventChunk

chunk_sizes = st.lists(st.integers(1, 17), min_size=1, max_size=5)
bad = st.frozensets(st.integers(0, 60), max_size=20)


def spans(found: list[EventChunk]) -> list[tuple[int, int]]:
    return [(chunk.span.begin, chunk.span.end) for chunk in found]


@given(
    st.integers(0, 60), chunk_sizes, bad, st.integers(1, 20), st.integers(0, 60),
    st.none() | st.integers(0, 70),
)  # fmt: skip
def test_batches_cover_every_position_once_for_any_chunking(
    size: int, chunks: list[int], bad: frozenset[int], batch: int, begin: int, stop: int | None
) -> None:
    source = ListSource({"p": size}, chunks, bad)
    found = list(batches(source, "p", begin, batch, stop=stop))
    last = size if stop is None else min(size, stop)
    expected = [(b, min(b + batch, last)) for b in range(begin, last, batch)]
    assert spans(found) == expected
    for chunk in found:
        consistent(chunk)
        assert chunk.columns["value"].to_pylist() == chunk.offsets.tolist()
    assert source.open_reads == 0


@given(st.lists(st.integers(0, 60), max_size=4), chunk_sizes, st.integers(1, 20))
def test_no_batch_straddles_a_cut(cuts: list[int], chunks: list[int], batch: int) -> None:
    found = list(batches(ListSource({"p": 50}, chunks), "p", 5, batch, cuts=cuts))
    assert [o for c in found for o in c.offsets] == list(range(5, 50))
    for chunk in found:
        assert not any(chunk.span.begin < cut < chunk.span.end for cut in cuts)
        assert chunk.span.end - chunk.span.begin <= batch


@given(chunk_sizes, st.integers(1, 20), st.integers(0, 10))
def test_a_run_resumed_at_a_batch_border_sees_the_same_batches(
    chunks: list[int], batch: int, border: int
) -> None:
    source = ListSource({"p": 60}, chunks)
    whole = spans(list(batches(source, "p", 0, batch)))
    begin = min(border * batch, 60)
    assert spans(list(batches(source, "p", begin, batch))) == whole[border:]


def test_what_was_read_before_an_error_comes_first() -> None:
    stream = batches(ListSource({"p": 10}, [4], fails=True), "p", 0, 7)
    assert next(stream).span.end == 7
    assert next(stream).span.end == 10
    with pytest.raises(SourceError, match="p at record 10: torn"):
        next(stream)


def test_a_source_that_skips_is_named() -> None:
    class Skipping(ListSource):
        def read(self, partition: str, begin: int):  # type: ignore[no-untyped-def]
            yield self.chunk(partition, begin + 1, begin + 3)

    with pytest.raises(SourceError, match="went on at 1 instead"):
        list(batches(Skipping({"p": 10}), "p", 0, 7))


def test_leaving_early_closes_the_source() -> None:
    source = ListSource({"p": 100, "q": 100})
    stream = interleaved(source, {"p": 0, "q": 0}, 10)
    next(stream)
    next(stream)
    assert source.open_reads == 2
    stream.close()  # type: ignore[attr-defined]
    assert source.open_reads == 0


def test_partitions_take_turns_until_they_end() -> None:
    source = ListSource({"a": 25, "b": 10, "c": 30})
    turns = [
        (c.span.partition, c.span.end) for c in interleaved(source, dict.fromkeys("abc", 0), 10)
    ]
    assert turns == [
        ("a", 10), ("b", 10), ("c", 10), ("a", 20), ("c", 20), ("a", 25), ("c", 30),
    ]  # fmt: skip


@given(st.integers(0, 12), st.integers(1, 9), chunk_sizes)
def test_a_resumed_interleaving_takes_the_same_turns(
    done: int, batch: int, chunks: list[int]
) -> None:
    source = ListSource({"a": 25, "b": 10, "c": 30}, chunks)
    begins = dict.fromkeys("abc", 0)
    whole = [c.span for c in interleaved(source, begins, batch)]
    for span in whole[:done]:
        begins[span.partition] = span.end
    rest = [c.span for c in interleaved(source, begins, batch)]
    assert rest == whole[done:]


def test_every_partition_is_read_to_the_end() -> None:
    source = ListSource({"a": 25, "b": 0, "c": 31})
    found = list(interleaved(source, {"a": 3, "b": 0, "c": 0}, 4, stops={"c": 9}, cuts={"a": [5]}))
    by_partition = {
        name: [o for c in group for o in c.offsets]
        for name, group in itertools.groupby(
            sorted(found, key=lambda c: c.span.partition), key=lambda c: c.span.partition
        )
    }
    assert by_partition == {"a": list(range(3, 25)), "c": list(range(9))}
