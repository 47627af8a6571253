"""Admission: the sliding sketch, the Poisson draw, and the filter that holds them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.admission import Admission, AdmissionFilter, AdmitAfter, AdmitAll, AdmitWithProbability
from ps.block import FilterDelta
from ps.errors import CorruptBlockError, ShapeError, SpecError
from ps.kernels.admit import admits, has_admission, poisson_admits
from ps.kernels.jit import kernel
from ps.kernels.sketch import KEYS, PERIOD, sketch_add
from ps.store.admission_count import occurrences as reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ps.arrays import I64, U64, Bool

SLOT = 3


@kernel
def estimate_all(
    fids: np.ndarray,
    counts: np.ndarray,
    estimates: np.ndarray,
    cells: np.ndarray,
    wide_cells: np.ndarray,
    periods: np.ndarray,
    clock: np.ndarray,
    changed: np.ndarray,
) -> None:
    for i in range(fids.shape[0]):
        estimates[i] = sketch_add(
            fids[i], np.int64(counts[i]), cells, wide_cells, periods, clock, changed
        )


@kernel
def admit_each(
    fids: np.ndarray,
    counts: np.ndarray,
    salt: np.uint64,
    admitted: np.ndarray,
    slot_policy: np.ndarray,
    policies: np.ndarray,
    cells: np.ndarray,
    wide_cells: np.ndarray,
    periods: np.ndarray,
    clock: np.ndarray,
    changed: np.ndarray,
) -> None:
    for i in range(fids.shape[0]):
        admitted[i] = admits(
            fids[i],
            np.int64(counts[i]),
            salt,
            slot_policy,
            policies,
            cells,
            wide_cells,
            periods,
            clock,
            changed,
        )


def fids_of(numbers: Sequence[int] | I64, slot: int = SLOT) -> U64:
    return np.asarray(numbers, dtype=np.uint64) | np.uint64(slot << 48)


def add(admission: AdmissionFilter, fids: U64, count: int = 1) -> I64:
    """Count every fid in turn; the estimates."""
    estimates = np.zeros(len(fids), np.int64)
    estimate_all(fids, np.full(len(fids), count, np.uint32), estimates, *admission.arrays[2:])
    return estimates


def admit(admission: AdmissionFilter, fids: U64, count: int = 1, salt: int = 0) -> Bool:
    admitted = np.zeros(len(fids), np.bool_)
    counts = np.full(len(fids), count, np.uint32)
    admit_each(fids, counts, np.uint64(salt), admitted, *admission.arrays)
    return admitted


def counting(
    occurrences: int = 3, remembered_fids: int = 1024, window_s: int | None = None
) -> AdmissionFilter:
    return AdmissionFilter(
        {SLOT: AdmitAfter(occurrences)}, remembered_fids=remembered_fids, window_s=window_s
    )


@pytest.mark.parametrize("occurrences", [2, 3, 15, 16, 255, 256, 1000, 65_535])
def test_a_fid_is_admitted_at_exactly_its_nth_occurrence(occurrences: int) -> None:
    """Few fids; thresholds on both sides of what a byte holds, and the largest there is."""
    admission = counting(occurrences)
    for number in range(3):
        admitted = admit(admission, fids_of([number] * occurrences))
        assert not admitted[:-1].any()
        assert admitted[-1]


@given(
    numbers=st.lists(st.integers(0, 40), max_size=200),
    occurrences=st.sampled_from([3, 300]),
    lines=st.sampled_from([1, 4, 64]),
    steps_s=st.lists(st.integers(0, 12), max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_counting_is_what_the_reference_reads_and_writes_nothing(
    numbers: list[int], occurrences: int, lines: int, steps_s: list[int]
) -> None:
    admission = counting(occurrences, remembered_fids=2 * lines, window_s=10)
    now_s = 100
    for step_s in [0, *steps_s]:
        now_s += step_s
        admission.advance(now_s)
        for number in numbers[:: len(steps_s) + 1]:
            add(admission, fids_of([number]))
        state = admission.export()
        assert state is not None
        before = [array.tobytes() for array in admission.arrays]
        for number in range(42):
            fid = int(fids_of([number])[0])
            assert admission.count(fid) == reference(state, fid)
        assert [array.tobytes() for array in admission.arrays] == before


def test_slots_that_do_not_count_have_no_count() -> None:
    admission = AdmissionFilter(
        {1: AdmitAfter(1), 2: AdmitWithProbability(0.5), 3: AdmitAfter(2), 4: AdmitAll()}
    )
    add(admission, fids_of([7], slot=3))
    found = [admission.count(int(fids_of([7], slot=slot)[0])) for slot in range(6)]
    assert found == [None, None, None, 1, None, None]
    assert AdmissionFilter({}).count(7) is None


def test_occurrences_in_one_batch_count_one_by_one() -> None:
    admission = counting(5)
    assert not admit(admission, fids_of([1]), count=4).any()
    assert admit(admission, fids_of([1]), count=1).all()
    assert admit(admission, fids_of([2]), count=4_000_000_000).all()


def test_ten_thousand_fids_that_come_once_are_hardly_ever_admitted() -> None:
    admission = counting(2, remembered_fids=10_000)
    assert admit(admission, fids_of(range(10_000))).mean() < 0.02
    assert admit(admission, fids_of(range(10_000))).all()


@given(
    numbers=st.lists(st.integers(0, 60), max_size=300),
    occurrences=st.sampled_from([2, 300]),
    lines=st.sampled_from([1, 4, 64]),
)
@settings(max_examples=100, deadline=None)
def test_the_estimate_never_falls_short_of_this_period_and_the_last(
    numbers: list[int], occurrences: int, lines: int
) -> None:
    admission = counting(occurrences, remembered_fids=2 * lines)
    clock = admission.arrays[5]
    this: Counter[int] = Counter()
    last: Counter[int] = Counter()
    period = int(clock[PERIOD])
    for number in numbers:
        found = int(add(admission, fids_of([number]))[0])
        if clock[PERIOD] != period:
            period, this, last = int(clock[PERIOD]), Counter(), this
        this[number] += 1
        assert found >= this[number] + last[number]


@pytest.mark.parametrize("occurrences", [3, 300])
def test_it_never_saturates_however_long_the_stream(occurrences: int) -> None:
    """Eight million distinct fids through a sketch for a thousand: every period is like the first.

    That is 8,000 times its size, as eight billion fids are to the default one. Without sliding, all cells
    would be full within the first ten thousand.
    """
    admission = counting(occurrences, remembered_fids=1024)
    size = admission.allocated_bytes
    rng = np.random.default_rng(1)
    for _ in range(16):
        fids = fids_of(rng.integers(0, 2**48, 500_000))
        estimates = add(admission, fids)
        assert (estimates >= 3).mean() < 0.05
        fresh = fids_of(rng.integers(0, 2**48, 100))
        estimates = add(admission, np.repeat(fresh, 3))
        assert (estimates[2::3] >= 3).all()
    assert admission.allocated_bytes == size == 1024 * 32


def test_frequent_fids_do_not_end_a_period() -> None:
    """A period ends by how many fids are new to it, so hot ones cannot flush the rest out."""
    admission = counting(3)
    add(admission, fids_of([1]))
    add(admission, fids_of([2] * 100_000))
    assert admission.arrays[5][PERIOD] == 1
    assert admission.arrays[5][KEYS] == 2
    assert add(admission, fids_of([1])).tolist() == [2]


def test_an_occurrence_is_forgotten_by_event_time() -> None:
    admission = counting(10, window_s=100)
    admission.advance(1_000)
    assert add(admission, fids_of([1])).tolist() == [1]
    admission.advance(1_049)
    assert add(admission, fids_of([1])).tolist() == [2]
    admission.advance(1_050)
    assert add(admission, fids_of([1])).tolist() == [3]
    admission.advance(1_100)
    assert add(admission, fids_of([1])).tolist() == [2]
    admission.advance(1_400)
    assert add(admission, fids_of([1])).tolist() == [1]


def test_event_time_that_runs_backwards_is_ignored() -> None:
    admission = counting(10, window_s=100)
    admission.advance(1_000)
    add(admission, fids_of([1]))
    admission.advance(10)
    admission.advance(1_001)
    assert add(admission, fids_of([1])).tolist() == [2]


def exported(admission: AdmissionFilter) -> FilterDelta:
    found = admission.export()
    assert found is not None
    return found


def delta_of(admission: AdmissionFilter) -> FilterDelta:
    found = admission.delta()
    assert found is not None
    return found


def same(left: FilterDelta, right: FilterDelta) -> bool:
    return all(
        np.array_equal(getattr(left, name), getattr(right, name))
        for name in FilterDelta.__dataclass_fields__
    )


def test_the_export_is_all_there_is() -> None:
    """A filter that takes over an export goes on exactly like the one it came from."""
    rng = np.random.default_rng(2)
    left, right = (counting(3, remembered_fids=256, window_s=1000) for _ in range(2))
    left.advance(5_000)
    add(left, fids_of(rng.integers(0, 500, 2_000)))
    add(right, fids_of(rng.integers(0, 500, 300)))
    right.apply(exported(left), replace=True)
    assert same(exported(right), exported(left))
    for now_s in (5_100, 5_500, 6_200):
        fids = fids_of(rng.integers(0, 500, 1_000))
        for admission in (left, right):
            admission.advance(now_s)
        assert np.array_equal(add(left, fids), add(right, fids))
    assert same(exported(right), exported(left))


@given(
    batches=st.lists(st.lists(st.integers(0, 400), max_size=60), max_size=12),
    occurrences=st.sampled_from([3, 300]),
    lines=st.sampled_from([1, 4, 128]),
)
@settings(max_examples=100, deadline=None)
def test_a_reader_of_deltas_counts_what_the_filter_counts(
    batches: list[list[int]], occurrences: int, lines: int
) -> None:
    """However many periods pass, and however much was written between two deltas."""
    left, right = (counting(occurrences, 2 * lines, window_s=20) for _ in range(2))
    for number, batch in enumerate(batches):
        left.advance(7 * number)
        add(left, fids_of(batch))
        if number % 3 == 0:
            written = delta_of(left)
            right.apply(written, replace=False)
            assert same(exported(left), exported(right))
            assert delta_of(right).lines.size == 0
            assert (written.lines.size > 0) >= bool(batch)
    right.apply(delta_of(left), replace=False)
    fids = fids_of(range(400))
    assert np.array_equal(add(left, fids), add(right, fids))


def test_a_delta_holds_the_lines_written_and_no_others() -> None:
    admission = counting(3, remembered_fids=100_000)
    assert delta_of(admission).lines.size == 0
    add(admission, fids_of([1, 2, 3]))
    first = delta_of(admission)
    assert 1 <= first.lines.size <= 3
    assert delta_of(admission).lines.size == 0
    add(admission, fids_of([2]))
    again = delta_of(admission)
    assert again.lines.size == 1
    assert again.lines[0] in first.lines
    admission.mark_all()
    assert delta_of(admission).lines.tolist() == list(range(65_536))
    admission.mark_all()
    admission.forget_changes()
    assert delta_of(admission).lines.size == 0


@pytest.mark.parametrize("lines", [1, 2, 64, 128])
def test_all_lines_can_be_marked_and_bring_any_filter_back(lines: int) -> None:
    """Also one that has gone on to later periods: after a rollback its reader is told all."""
    left, right = counting(3, 2 * lines), counting(3, 2 * lines)
    add(left, fids_of(range(2 * lines)))
    right.apply(exported(left), replace=True)
    add(right, fids_of(range(1_000, 1_000 + 9 * lines)))
    left.mark_all()
    change = delta_of(left)
    assert change.lines.tolist() == list(range(lines))
    right.apply(change, replace=False)
    assert same(exported(right), exported(left))


@given(
    before=st.lists(st.lists(st.integers(0, 900), max_size=40), max_size=5),
    after=st.lists(st.lists(st.integers(0, 900), max_size=40), max_size=5),
    occurrences=st.sampled_from([3, 300]),
    lines=st.sampled_from([1, 4, 64, 256]),
    chunk=st.sampled_from([64, 128, 1 << 14]),
    based=st.integers(0, 5),
)
@settings(max_examples=200, deadline=None)
def test_lines_that_differ_bring_a_reader_back(
    before: list[list[int]],
    after: list[list[int]],
    occurrences: int,
    lines: int,
    chunk: int,
    based: int,
) -> None:
    """However many periods the present has gone on, and whether its reader began with a base, which
    leaves out what counts for nothing.
    """
    present, back, reader = (counting(occurrences, 2 * lines, window_s=20) for _ in range(3))
    for number, batch in enumerate(before):
        for admission in (present, back):
            admission.advance(10 + 10 * number)
            add(admission, fids_of(batch))
    reader.apply(delta_of(present), replace=False)
    back.forget_changes()
    for number, batch in enumerate(after):
        present.advance(10 + 10 * (len(before) + number))
        add(present, fids_of(batch))
        reader.apply(delta_of(present), replace=False)
        if number == based:
            reader.apply(exported(present), replace=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ps.admission._COMPARED_LINES", chunk)
        back.mark_different(present)
    change = delta_of(back)
    reader.apply(change, replace=False)
    assert same(exported(reader), exported(back))
    if not after:
        assert change.lines.size == 0
    everyone = fids_of(range(900))
    assert np.array_equal(add(reader, everyone), add(back, everyone))


def test_few_lines_differ_where_little_was_written() -> None:
    present, back = (counting(3, remembered_fids=100_000) for _ in range(2))
    for admission in (present, back):
        add(admission, fids_of(range(10_000)))
        admission.forget_changes()
    add(present, fids_of(range(20_000, 20_040)))
    back.mark_different(present)
    assert 30 <= delta_of(back).lines.size <= 40


def test_all_lines_differ_from_those_of_another_configuration() -> None:
    small, large, wide = counting(3, 200), counting(3, 2_000), counting(300, 200)
    for other in (large, wide):
        small.mark_different(other)
        assert delta_of(small).lines.tolist() == list(range(128))


def test_what_counts_for_nothing_is_not_exported() -> None:
    admission = counting(3, remembered_fids=2_000, window_s=100)
    admission.advance(1_000)
    add(admission, fids_of(range(300)))
    assert exported(admission).lines.size > 200
    admission.advance(1_050)
    assert exported(admission).lines.size > 200
    admission.advance(1_100)
    assert exported(admission).lines.size == 0


@given(
    left_periods=st.lists(st.lists(st.integers(0, 80), max_size=40), max_size=5),
    right_periods=st.lists(st.lists(st.integers(0, 80), max_size=40), max_size=5),
    occurrences=st.sampled_from([3, 300]),
    lines=st.sampled_from([1, 4, 64]),
)
@settings(max_examples=100, deadline=None)
def test_a_merge_never_loses_a_count(
    left_periods: list[list[int]],
    right_periods: list[list[int]],
    occurrences: int,
    lines: int,
) -> None:
    """Two filters, of different ages, become one: its estimates are at least what either's were."""
    sides = []
    for periods in (left_periods, right_periods):
        admission = counting(occurrences, 2 * lines, window_s=20)
        for number, batch in enumerate(periods):
            admission.advance(10 + 10 * number)
            add(admission, fids_of(batch))
        sides.append(admission)
    everyone = fids_of(range(81))
    estimates = []
    for admission in sides:
        copied = counting(occurrences, 2 * lines, window_s=20)
        copied.apply(exported(admission), replace=True)
        estimates.append(lone_estimates(copied, everyone))
    merged = counting(occurrences, 2 * lines, window_s=20)
    merged.apply(exported(sides[0]), replace=True)
    other = exported(sides[1])
    before = other.cells.copy()
    merged.merge(other)
    assert np.array_equal(other.cells, before)
    assert (lone_estimates(merged, everyone) >= np.maximum(*estimates)).all()
    keys = [int(side.arrays[5][KEYS]) for side in sides]
    assert int(merged.arrays[5][KEYS]) == max(keys)


def lone_estimates(admission: AdmissionFilter, fids: U64) -> I64:
    """What each fid's next occurrence would be estimated at, were it the next to come."""
    state = exported(admission)
    estimates = np.zeros(len(fids), np.int64)
    for i in range(len(fids)):
        admission.apply(state, replace=True)
        # A line that turns to a new period must not change what the others are asked about.
        admission.arrays[5][KEYS] = 0
        estimates[i] = add(admission, fids[i : i + 1])[0]
    admission.apply(state, replace=True)
    return estimates


def test_a_merge_with_nothing_changes_nothing() -> None:
    left, empty = counting(300), counting(300)
    left.advance(50)
    add(left, fids_of(range(300)))
    before = exported(left)
    left.merge(exported(empty))
    assert same(exported(left), before)
    empty.merge(before)
    assert same(exported(empty), before)


def test_a_filter_that_does_not_count_has_no_state() -> None:
    admission = AdmissionFilter({1: AdmitWithProbability(0.5), 2: AdmitAll(), 3: AdmitAfter(1)})
    assert admission.export() is None
    assert admission.delta() is None
    assert admission.allocated_bytes == 64
    other = counting()
    add(other, fids_of(range(100)))
    admission.apply(exported(other), replace=True)
    admission.merge(exported(other))
    assert admission.export() is None


def damaged_states(state: FilterDelta) -> list[FilterDelta]:
    later = state.cells.copy()
    later[0, :8].view(np.int64)[0] = state.period + 1
    return [
        replace(state, lines=state.lines[:-1]),
        replace(state, lines=state.lines[::-1].copy()),
        replace(state, lines=np.repeat(state.lines[:1], state.lines.size)),
        replace(state, lines=state.lines.astype(np.int64)),
        replace(state, lines=state.lines + np.uint32(1 << 20)),
        replace(state, cells=state.cells[:, :63]),
        replace(state, cells=state.cells.view(np.int8)),
        replace(state, cells=later),
        replace(state, period=0),
        replace(state, keys=-1),
    ]


@pytest.mark.parametrize("number", range(10))
def test_a_damaged_state_is_refused_and_changes_nothing(number: int) -> None:
    admission = counting()
    add(admission, fids_of(range(100)))
    state = exported(admission)
    damaged = damaged_states(state)[number]
    with pytest.raises((CorruptBlockError, ShapeError)):
        admission.apply(damaged, replace=True)
    with pytest.raises((CorruptBlockError, ShapeError)):
        admission.merge(damaged)
    assert same(exported(admission), state)


@pytest.mark.parametrize("other", [counting(3, 4096), counting(300)], ids=["lines", "cells"])
def test_a_state_of_another_configuration_is_refused(other: AdmissionFilter) -> None:
    with pytest.raises(SpecError, match="remembered_fids"):
        counting().apply(exported(other), replace=True)


@kernel
def draw_each(
    seed: np.uint64,
    fids: np.ndarray,
    salt: np.uint64,
    count: np.int64,
    probability: np.float64,
    drawn: np.ndarray,
) -> None:
    for i in range(fids.shape[0]):
        drawn[i] = poisson_admits(seed, fids[i], salt, count, probability)


def draw(
    probability: float, count: int = 1, salt: int = 0, seed: int = 1, n: int = 100_000
) -> Bool:
    drawn = np.zeros(n, np.bool_)
    draw_each(
        np.uint64(seed),
        fids_of(range(n)),
        np.uint64(salt),
        np.int64(count),
        np.float64(probability),
        drawn,
    )
    return drawn


@pytest.mark.parametrize("probability", [0.001, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_poisson_admits_as_often_as_it_says(probability: float, count: int) -> None:
    expected = 1 - (1 - probability) ** count
    error = 5 * (expected * (1 - expected) / 100_000) ** 0.5
    assert abs(draw(probability, count).mean() - expected) <= error


def test_poisson_draws_by_seed_fid_and_salt_alone() -> None:
    first = draw(0.3)
    assert np.array_equal(first, draw(0.3))
    for other in (draw(0.3, salt=1), draw(0.3, seed=2)):
        agreement = (first == other).mean()
        assert abs(agreement - 0.58) < 0.01  # 0.3^2 + 0.7^2: independent


def test_poisson_with_more_occurrences_admits_whom_it_admitted_with_fewer() -> None:
    assert not (draw(0.3, count=1) & ~draw(0.3, count=2)).any()


def test_every_slot_follows_its_own_policy() -> None:
    slots: dict[int, Admission] = {
        1: AdmitAfter(2),
        2: AdmitWithProbability(0.25),
        65_535: AdmitAfter(3),
        4: AdmitAll(),
        5: AdmitWithProbability(1.0),
        6: AdmitAfter(1),
    }
    admission = AdmissionFilter(slots, seed=2**64 - 1)
    shares = {
        slot: [admit(admission, fids_of(range(1_000), slot), salt=i).mean() for i in range(3)]
        for slot in (*slots, 7)
    }
    for slot in (4, 5, 6, 7):
        assert shares[slot] == [1.0, 1.0, 1.0]
    assert shares[1][0] < 0.01
    assert shares[1][1] == 1.0
    assert shares[65_535][1] < 0.01
    assert shares[65_535][2] == 1.0
    assert all(0.2 < share < 0.3 for share in shares[2])


@kernel
def slots_with_admission(fids: np.ndarray, slot_policy: np.ndarray, found: np.ndarray) -> None:
    for i in range(fids.shape[0]):
        found[i] = has_admission(fids[i], slot_policy)


def test_only_slots_that_turn_fids_away_have_admission() -> None:
    admission = AdmissionFilter(
        {0: AdmitAll(), 1: AdmitAfter(2), 2: AdmitAfter(1), 3: AdmitWithProbability(0.5)}
    )
    fids = np.array([slot << 48 | 9 for slot in (0, 1, 2, 3, 65_535)], np.uint64)
    found = np.zeros(5, np.bool_)
    slots_with_admission(fids, admission.arrays[0], found)
    assert found.tolist() == [False, True, False, True, False]


@pytest.mark.parametrize("occurrences", [0, -1, 65_536])
def test_a_threshold_that_can_never_be_met_is_refused(occurrences: int) -> None:
    with pytest.raises(SpecError, match="between 1 and 65,535"):
        AdmitAfter(occurrences)


@pytest.mark.parametrize("probability", [0.0, -0.1, 1.1, float("nan"), 1e-300])
def test_a_probability_that_can_never_admit_is_refused(probability: float) -> None:
    with pytest.raises(SpecError, match="above 0"):
        AdmitWithProbability(probability)


def test_impossible_filters_are_refused() -> None:
    with pytest.raises(SpecError, match="slot"):
        AdmissionFilter({65_536: AdmitAll()})
    with pytest.raises(SpecError, match="remembered_fids"):
        AdmissionFilter({}, remembered_fids=0)
    with pytest.raises(SpecError, match="window_s"):
        AdmissionFilter({}, window_s=1)
    with pytest.raises(SpecError, match="different"):
        AdmissionFilter({slot: AdmitAfter(slot + 2) for slot in range(300)})
