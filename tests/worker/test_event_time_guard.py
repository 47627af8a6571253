"""The event clock: backwards is tolerated, the far future is not believed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.event_time_guard import MAX_EVENT_TS_US, EventTimeGuard


def accepted(guard: EventTimeGuard, *times: int) -> list[bool]:
    return [bool(each) for each in guard.check(np.array(times, np.int64)).accepted]


def test_times_that_run_backwards_are_counted_and_kept() -> None:
    guard = EventTimeGuard(100)
    assert accepted(guard, 1_000, 990, 1_050, 1_000) == [True] * 4
    assert (guard.backward, guard.furthest_back_us, guard.clock_us) == (2, 50, 1_050)
    assert accepted(guard, 10) == [True]
    assert (guard.backward, guard.furthest_back_us, guard.clock_us) == (3, 1_040, 1_050)


def test_a_jump_into_the_far_future_is_rejected_and_the_clock_stays() -> None:
    guard = EventTimeGuard(100)
    verdict = guard.check(np.array([1_000, 1_101, 1_100, 1_200]))
    assert verdict.accepted.tolist() == [True, False, True, True]
    assert verdict.reasons == {1: "event time more than 0.0001 s ahead of the stream"}
    assert (guard.clock_us, guard.rejected) == (1_200, 1)


@pytest.mark.parametrize("impossible", [-1, MAX_EVENT_TS_US + 1, 2**63 - 1, -(2**63)])
def test_times_that_no_row_can_hold_are_rejected_even_first(impossible: int) -> None:
    guard = EventTimeGuard(100)
    assert accepted(guard, impossible, 5, impossible) == [False, True, False]
    assert guard.clock_us == 5


def test_the_first_time_is_believed_and_a_resumed_clock_is_not_forgotten() -> None:
    assert accepted(EventTimeGuard(100), 10**12) == [True]
    assert accepted(EventTimeGuard(100, clock_us=5), 10**12, 6) == [False, True]


def test_a_gap_that_the_stream_insists_on_is_accepted() -> None:
    guard = EventTimeGuard(100, patience=3)
    assert accepted(guard, 0, 5_000, 5_010, 5_005, 5_020) == [True, False, False, True, True]
    assert guard.clock_us == 5_020


def test_jumps_that_disagree_or_are_interrupted_move_nothing() -> None:
    guard = EventTimeGuard(100, patience=3)
    assert accepted(guard, 0, 5_000, 9_000, 5_000, 9_000) == [True] + [False] * 4
    guard = EventTimeGuard(100, patience=3)
    assert accepted(guard, 0, 5_000, 5_000, 1, 5_000, 5_000) == [
        True,
        False,
        False,
        True,
        False,
        False,
    ]
    guard = EventTimeGuard(100, patience=None)
    assert accepted(guard, 0, *[5_000] * 50) == [True] + [False] * 50


@given(st.lists(st.integers(-20, 400), max_size=40), st.lists(st.integers(0, 40), max_size=4))
def test_batch_cuts_change_no_verdict(times: list[int], cuts: list[int]) -> None:
    whole, parts = EventTimeGuard(50, patience=3), EventTimeGuard(50, patience=3)
    expected = accepted(whole, *times)
    edges = sorted({0, len(times), *(cut for cut in cuts if cut < len(times))})
    found = [v for a, b in itertools.pairwise(edges) for v in accepted(parts, *times[a:b])]
    assert found == expected
    for name in ("clock_us", "backward", "furthest_back_us", "rejected"):
        assert getattr(parts, name) == getattr(whole, name)


@given(st.lists(st.integers(-20, 400), max_size=40), st.integers(0, 40))
def test_a_guard_that_is_restored_judges_as_the_one_it_was_saved_from(
    times: list[int], at: int
) -> None:
    whole, resumed = EventTimeGuard(50, patience=3), EventTimeGuard(50, patience=3)
    accepted(whole, *times[:at])
    saved = whole.state
    resumed.restore(saved)
    assert accepted(resumed, *times[at:]) == accepted(whole, *times[at:])
    assert resumed.state == whole.state
    whole.restore(saved)  # going back is restoring as well
    assert whole.state == saved


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="max_jump_us"):
        EventTimeGuard(0)
    with pytest.raises(ValueError, match="patience"):
        EventTimeGuard(1, patience=0)
