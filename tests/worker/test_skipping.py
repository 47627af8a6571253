"""What is ruled out is left out, and everything else stays where it is."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from tests.worker.streams import ListSource, consistent
from worker.batching import batches, interleaved
from worker.skipping import leave_out, merged, without
from worker.sources.again import Again, skips_in_pass

if TYPE_CHECKING:
    from ps.store.commit import Skips

SIZE = 60
ranges = st.lists(
    st.tuples(st.integers(0, 70), st.integers(0, 20)).map(lambda r: (r[0], r[0] + r[1])), max_size=4
).map(tuple)
skips_of = st.fixed_dictionaries({}, optional={"p": ranges, "q": ranges})


def ruled_out(skips: Skips, partition: str) -> set[int]:
    return {offset for b, e in skips.get(partition, ()) for offset in range(b, e)}


@given(
    skips_of, st.frozensets(st.integers(0, SIZE - 1), max_size=20), st.integers(1, 25),
    st.lists(st.integers(1, 17), min_size=1, max_size=4), st.lists(st.integers(0, SIZE), max_size=3),
)  # fmt: skip
def test_batches_are_those_without_skips_minus_the_records_ruled_out(
    skips: Skips, bad: frozenset[int], batch: int, chunks: list[int], cuts: list[int]
) -> None:
    source = ListSource({"p": SIZE, "q": SIZE - 7}, chunks, bad)
    begins, cut = {"p": 0, "q": 3}, {"p": cuts}
    plain = list(interleaved(source, begins, batch, cuts=cut))
    left = list(leave_out(interleaved(source, begins, batch, cuts=cut), skips))
    assert [one.span for one in left] == [one.span for one in plain]
    for one, other in zip(left, plain, strict=True):
        consistent(other)
        out = ruled_out(skips, one.span.partition)
        assert one.offsets.tolist() == [o for o in other.offsets.tolist() if o not in out]
        assert one.columns["value"].to_pylist() == one.offsets.tolist()
        assert one.columns.schema == other.columns.schema
        assert list(one.rejected) == [r for r in other.rejected if r.offset not in out]
        assert one.skipped == len(out & set(range(one.span.begin, one.span.end)))
    assert source.open_reads == 0


def test_leaving_early_closes_the_source() -> None:
    source = ListSource({"p": 100})
    stream = leave_out(batches(source, "p", 0, 10), {"p": ((0, 5),)})
    next(stream)
    assert source.open_reads == 1
    stream.close()  # type: ignore[attr-defined]
    assert source.open_reads == 0


@given(st.lists(skips_of, max_size=3))
def test_merged_skips_rule_out_what_each_of_them_does(several: list[Skips]) -> None:
    together = merged(*several)
    for partition in ("p", "q"):
        expected = set().union(*(ruled_out(skips, partition) for skips in several))
        assert ruled_out(together, partition) == expected
        found = together.get(partition, ())
        assert all(b < e for b, e in found)
        assert all(one[1] < other[0] for one, other in itertools.pairwise(found))
    assert merged(together) == together


@given(skips_of, skips_of)
def test_without_rules_out_what_the_one_does_and_the_other_does_not(
    one: Skips, other: Skips
) -> None:
    found = without(one, other)
    for partition in ("p", "q"):
        expected = ruled_out(one, partition) - ruled_out(other, partition)
        assert ruled_out(found, partition) == expected
        assert (partition in found) == bool(expected)
    assert merged(found) == found


def test_what_is_ruled_out_is_so_in_every_pass() -> None:
    skips: Skips = {"a": ((2, 4),), "a#2": ((3, 6),)}
    assert skips_in_pass(skips, 0) == skips
    found: dict[str, list[int]] = {}
    for number in (1, 2):
        source = Again(ListSource({"a": 7, "b": 5}), number)
        left = leave_out(
            interleaved(source, dict.fromkeys(source.partitions(), 0), 4),
            skips_in_pass(skips, number),
        )
        for one in left:
            found.setdefault(one.span.partition, []).extend(one.offsets.tolist())
    assert found == {
        "a#1": [0, 1, 4, 5, 6], "b#1": [0, 1, 2, 3, 4],
        "a#2": [0, 1, 6], "b#2": [0, 1, 2, 3, 4],
    }  # fmt: skip
