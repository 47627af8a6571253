"""Reading ahead keeps the order, hands on errors and leaves no thread behind."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.prefetch import IDLE, Prefetcher

if TYPE_CHECKING:
    from collections.abc import Iterator


@given(st.lists(st.integers()), st.integers(1, 4))
def test_prefetching_changes_neither_items_nor_order(items: list[int], depth: int) -> None:
    with Prefetcher(iter(items), depth) as ahead:
        assert list(ahead) == items


def test_no_more_than_depth_items_are_made_ahead() -> None:
    made: list[int] = []
    fourth = threading.Event()

    def counting() -> Iterator[int]:
        for i in range(100):
            made.append(i)
            if i == 3:
                fourth.set()
            yield i

    with Prefetcher(counting(), 3) as ahead:
        assert fourth.wait(10)  # three wait in the queue, the fourth is in the thread's hands
        assert len(made) == 4
        assert next(ahead) == 0


def test_an_error_comes_after_the_items_before_it() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise OSError("disk on fire")

    with Prefetcher(failing()) as ahead:
        assert next(ahead) == 1
        with pytest.raises(OSError, match="disk on fire"):
            next(ahead)
        assert list(ahead) == []


def test_closing_early_stops_the_thread_and_the_inner_iterator() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    before = threading.active_count()
    ahead = Prefetcher(endless())
    next(ahead)
    ahead.close()
    ahead.close()
    assert closed.is_set()
    assert threading.active_count() == before
    assert list(ahead) == []


def test_who_does_not_wait_is_told_that_there_is_nothing_yet() -> None:
    released = threading.Event()

    def quiet() -> Iterator[int]:
        yield 1
        released.wait()
        yield 2

    with Prefetcher(quiet()) as ahead:
        assert ahead.next_within(10.0) == 1
        assert ahead.next_within(0.0) is IDLE
        assert ahead.next_within(0.01) is IDLE
        released.set()
        assert ahead.next_within(10.0) == 2
        with pytest.raises(StopIteration):
            ahead.next_within(10.0)


def test_a_source_that_blocks_does_not_hold_up_closing(caplog: pytest.LogCaptureFixture) -> None:
    reading, released, closed = threading.Event(), threading.Event(), threading.Event()

    def blocking() -> Iterator[int]:
        try:
            reading.set()
            released.wait()
            yield 1
        finally:
            closed.set()

    with Prefetcher(blocking(), close_s=0.01) as ahead:
        assert reading.wait(10)
    assert "left behind" in caplog.text
    assert not closed.is_set()
    assert list(ahead) == []
    # It ends by itself, and nothing it still reads is given to anybody.
    released.set()
    assert closed.wait(10)
    assert list(ahead) == []


def test_a_depth_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Prefetcher(iter([1]), 0)
