"""Requests to the training thread: when they are carried out, refused, and what becomes of errors."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from cluster.local.control import Control
from ps.errors import JobBusyError, NoStoreError

if TYPE_CHECKING:
    from collections.abc import Callable

_LONG_S = 30.0


class Caller:
    """A thread that asks for one thing."""

    def __init__(self, control: Control, do: Callable[[], object]) -> None:
        self.result: object = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(control, do))
        self._thread.start()

    def _run(self, control: Control, do: Callable[[], object]) -> None:
        try:
            self.result = control.call("the test", do, deadline_s=_LONG_S)
        except BaseException as error:  # noqa: BLE001  # told by the test
            self.error = error

    def join(self) -> Caller:
        self._thread.join(_LONG_S)
        assert not self._thread.is_alive()
        return self


def test_a_request_is_carried_out_in_the_thread_that_opened() -> None:
    control = Control()
    with control.open():
        caller = Caller(control, threading.current_thread)
        control.wait(_LONG_S)
        assert control.carry_out() == 1
        assert caller.join().result is threading.current_thread()
        assert control.carry_out() == 0


def test_an_error_is_the_callers_alone() -> None:
    control = Control()

    def fail() -> None:
        raise NoStoreError("this")

    with control.open():
        caller = Caller(control, fail)
        control.wait(_LONG_S)
        assert control.carry_out() == 1
        assert isinstance(caller.join().error, NoStoreError)


def test_a_request_that_ends_the_thread_is_answered_all_the_same() -> None:
    control = Control()

    def interrupt() -> None:
        raise KeyboardInterrupt

    with control.open():
        caller = Caller(control, interrupt)
        control.wait(_LONG_S)
        with pytest.raises(KeyboardInterrupt):
            control.carry_out()
    assert isinstance(caller.join().error, JobBusyError)


def test_without_a_moment_in_time_nothing_happens() -> None:
    control = Control()
    done: list[int] = []
    with control.open():
        refused = threading.Event()

        def ask() -> None:
            with pytest.raises(JobBusyError, match=r"within 0\.01 s"):
                control.call("the test", lambda: done.append(1), deadline_s=0.01)
            refused.set()

        thread = threading.Thread(target=ask)
        thread.start()
        assert refused.wait(_LONG_S)
        thread.join()
        assert control.carry_out() == 0
    assert done == []


def test_what_waits_at_the_end_is_refused() -> None:
    control = Control()
    with control.open():
        caller = Caller(control, lambda: 1)
        control.wait(_LONG_S)
    assert isinstance(caller.join().error, JobBusyError)
    with pytest.raises(JobBusyError, match="starting, or has ended"):
        control.call("the test", lambda: 1, deadline_s=_LONG_S)


def test_the_training_thread_may_ask_itself() -> None:
    control = Control()
    with control.open():
        assert control.call("the test", lambda: 5, deadline_s=0.0) == 5


def test_requests_are_carried_out_once_each_from_many_threads() -> None:
    control = Control()
    carried_out: list[int] = []
    with control.open():
        callers = [Caller(control, lambda n=n: carried_out.append(n)) for n in range(20)]  # type: ignore[misc]
        done = 0
        while done < 20:
            control.wait(_LONG_S)
            done += control.carry_out()
        for caller in callers:
            assert caller.join().error is None
    assert sorted(carried_out) == list(range(20))
