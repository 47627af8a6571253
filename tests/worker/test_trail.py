"""Reading again from an earlier place judges event times as they were judged there."""

from __future__ import annotations

from ps.stream import Span
from worker.event_time_guard import GuardState
from worker.trail import GuardTrail


def noted(kept_batches: int = 100) -> GuardTrail:
    """Two partitions in turn, batches of 10; the guard's clock is the number of batches seen."""
    trail = GuardTrail(GuardState(0), kept_batches)
    for number in range(10):
        begin = number // 2 * 10
        trail.note(Span("ab"[number % 2], begin, begin + 10), GuardState(number + 1))
    return trail


def test_the_state_is_that_before_the_first_batch_read_again() -> None:
    assert noted().rewind({"a": (30, 50), "b": (30,)}) == GuardState(6)
    assert noted().rewind({"a": (50,), "b": (20,)}) == GuardState(5)
    assert noted().rewind({"a": (50,)}) == GuardState(1)
    assert noted().rewind({}) == GuardState(0)


def test_where_nothing_is_read_again_it_is_the_last() -> None:
    assert noted().rewind({"a": (50,), "b": (50,)}) == GuardState(10)
    assert GuardTrail(None).rewind({"a": (1,)}) is None


def test_it_goes_on_from_the_place_it_was_taken_back_to() -> None:
    trail = noted()
    assert trail.rewind({"a": (30,), "b": (30,)}) == GuardState(6)
    trail.note(Span("a", 30, 35), GuardState(60))
    assert trail.rewind({"a": (35,), "b": (30,)}) == GuardState(60)
    assert trail.rewind({"a": (30,), "b": (20,)}) == GuardState(5)


def test_beyond_what_is_remembered_the_clock_is_ahead() -> None:
    assert noted(kept_batches=4).rewind({}) == GuardState(6)
