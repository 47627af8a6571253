"""Requests to the thread that trains, which carries them out between two batches."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ps.errors import JobBusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


class _Request:
    """One thing asked for. begun: nobody may take it back any more; done: result or error is there."""

    def __init__(self, what: str, do: Callable[[], object]) -> None:
        self.what = what
        self.begun = False
        self.done = False
        self.result: object = None
        self.error: BaseException | None = None
        self._do = do

    def carry_out(self) -> None:
        try:
            self.result = self._do()
        except Exception as error:  # noqa: BLE001  # the caller's, who is handed it
            self.error = error
        except BaseException:
            self.error = _busy(self.what, "the job was ended while it was at it")
            raise

    def outcome(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.result


class Control:
    """A queue from any thread to the one inside `open`. Nothing that was asked for is left hanging."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[_Request] = deque()
        self._thread: threading.Thread | None = None

    @contextmanager
    def open(self) -> Iterator[None]:
        """The calling thread carries out requests from here on; at the end, what waits is refused."""
        with self._changed:
            self._thread = threading.current_thread()
        try:
            yield
        finally:
            with self._changed:
                self._thread = None
                for request in self._waiting:
                    request.error = _busy(request.what, "the job has ended")
                    request.begun = request.done = True
                self._waiting.clear()
                self._changed.notify_all()

    def call(self, what: str, do: Callable[[], T], *, deadline_s: float) -> T:
        """Have `do` called between two batches, and return what it returns or raise what it raises.

        what: begins the message of an error. deadline_s: how long to wait for that moment; once begun
        a call is waited for to its end. Raises JobBusyError where it was not begun in time.
        """
        if self._thread is threading.current_thread():
            return do()
        request = _Request(what, do)
        with self._changed:
            if self._thread is None:
                raise _busy(what, "the job is starting, or has ended")
            self._waiting.append(request)
            self._changed.notify_all()
            self._changed.wait_for(lambda: request.begun, deadline_s)
            if not request.begun:
                self._waiting.remove(request)
                raise _busy(what, f"no moment between two batches came within {deadline_s:g} s")
            self._changed.wait_for(lambda: request.done)
        return cast("T", request.outcome())

    def carry_out(self) -> int:
        """Carry out what waits, in the order it came, in this thread; how much that was."""
        carried_out = 0
        while request := self._next():
            try:
                request.carry_out()
            finally:
                with self._changed:
                    request.done = True
                    self._changed.notify_all()
            carried_out += 1
        return carried_out

    def wait(self, timeout_s: float) -> None:
        """Wait for a request, or for the time to pass."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting, timeout_s)

    def _next(self) -> _Request | None:
        if not self._waiting:  # looked at after every batch: no lock where there is nothing
            return None
        with self._changed:
            if not self._waiting:
                return None
            request = self._waiting.popleft()
            request.begun = True
            return request


def _busy(what: str, why: str) -> JobBusyError:
    return JobBusyError(f"{what}: {why}; try again, or look at the job's status")
