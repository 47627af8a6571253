"""Admission: the sliding sketch, the Poisson draw, and the filter that holds them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.admission import Admission, AdmissionFilter, AdmitAfter, AdmitAll, AdmitWithProbability
from ps.errors import CorruptBlockError, SpecError
from ps.kernels.admit import admits, has_admission, poisson_admits
from ps.kernels.jit import kernel
from ps.kernels.sketch import KEYS, PERIOD, sketch_add

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
) -> None:
    for i in range(fids.shape[0]):
        estimates[i] = sketch_add(fids[i], np.int64(counts[i]), cells, wide_cells, periods, clock)


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


def test_the_state_is_all_there_is() -> None:
    """A filter restored from bytes goes on exactly like the one they came from."""
    rng = np.random.default_rng(2)
    left, right = (counting(3, remembered_fids=256, window_s=1000) for _ in range(2))
    left.advance(5_000)
    add(left, fids_of(rng.integers(0, 500, 2_000)))
    right.restore(left.state_bytes())
    assert right.state_bytes() == left.state_bytes()
    for now_s in (5_100, 5_500, 6_200):
        fids = fids_of(rng.integers(0, 500, 1_000))
        for admission in (left, right):
            admission.advance(now_s)
        assert np.array_equal(add(left, fids), add(right, fids))
    assert right.state_bytes() == left.state_bytes()


def test_an_empty_state_starts_afresh() -> None:
    admission = counting()
    empty = admission.state_bytes()
    add(admission, fids_of(range(500)))
    admission.restore(b"")
    assert admission.state_bytes() == empty


def test_a_filter_that_does_not_count_has_no_state() -> None:
    admission = AdmissionFilter({1: AdmitWithProbability(0.5), 2: AdmitAll(), 3: AdmitAfter(1)})
    assert admission.state_bytes() == b""
    assert admission.allocated_bytes == 64


def test_a_damaged_state_is_refused_and_changes_nothing() -> None:
    admission = counting()
    add(admission, fids_of(range(100)))
    state = admission.state_bytes()
    for damaged in (state[:-1], state[:20], b"XXXX" + state[4:], state + b"\0"):
        with pytest.raises(CorruptBlockError):
            admission.restore(damaged)
    assert admission.state_bytes() == state


@pytest.mark.parametrize("other", [counting(3, 4096), counting(300)], ids=["lines", "cells"])
def test_a_state_of_another_configuration_is_refused(other: AdmissionFilter) -> None:
    with pytest.raises(SpecError, match="remembered_fids"):
        counting().restore(other.state_bytes())


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
