"""Schedules: nothing is missed for being early, nothing comes in bursts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.local.schedule import Schedule


def done_at(schedule: Schedule, moments: list[float]) -> list[float]:
    """The moments at which something was due, and done."""
    found = []
    for now_s in moments:
        if schedule.is_due(now_s):
            schedule.done(now_s)
            found.append(now_s)
    return found


@given(jitter=st.lists(st.floats(-0.15, 0.15), min_size=1, max_size=60))
def test_moments_as_far_apart_as_asked_for_are_all_taken(jitter: list[float]) -> None:
    moments = [100.0 + i + late for i, late in enumerate(jitter)]
    assert done_at(Schedule(1.0), moments) == moments


@given(
    every=st.floats(1.0, 20.0), jitter=st.lists(st.floats(-0.15, 0.15), min_size=50, max_size=200)
)
def test_there_are_as_many_as_asked_for(every: float, jitter: list[float]) -> None:
    moments = [i + late for i, late in enumerate(jitter)]
    found = done_at(Schedule(every), moments)
    assert abs(len(found) - 1 - len(moments) / every) <= 2


@given(
    every=st.floats(0.1, 10.0),
    gaps=st.lists(st.sampled_from([0.01, 0.1, 1.0, 5.0, 100.0]), max_size=100),
)
def test_what_was_late_is_not_caught_up_on_in_a_burst(every: float, gaps: list[float]) -> None:
    moments = [0.0]
    for gap in gaps:
        moments.append(moments[-1] + gap)
    found = done_at(Schedule(every), moments)
    assert all(third - first >= every / 2 for first, third in zip(found, found[2:], strict=False))


def test_what_is_done_early_is_still_done_when_it_is_due() -> None:
    schedule = Schedule(10.0)
    assert done_at(schedule, [0.0, 1.0, 2.0]) == [0.0]
    schedule.done(2.0)
    assert done_at(schedule, [float(now) for now in range(3, 32)]) == [10.0, 20.0, 30.0]


@pytest.mark.parametrize("every", [0.0, 0.001])
def test_a_schedule_faster_than_one_can_look_takes_every_moment(every: float) -> None:
    moments = [i / 7 for i in range(50)]
    assert done_at(Schedule(every), moments) == moments
