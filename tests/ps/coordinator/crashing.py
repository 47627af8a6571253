"""A coordinator that dies at a numbered step: all its threads stand still from there on."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.faults.marks import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from tests.faults.marks import Mark


class Buried(SystemExit):
    """Ends a thread of a coordinator that has been dead for a while; nobody is told."""


_told_before = threading.excepthook


def _tell(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not Buried:
        _told_before(args)


# A test runner's hook takes note of whatever ends a thread.
threading.excepthook = _tell


class Death:
    """reached: whether a thread came to the step; it then waits there until bury()."""

    def __init__(self, mark: Mark) -> None:
        self.reached = threading.Event()
        self._mark = mark
        self._file = str(ROOT / mark.file)
        self._buried = threading.Event()
        self._died: set[int] = set()

    def bury(self) -> None:
        """Let the threads end."""
        self._buried.set()

    def at_call(self, frame: FrameType, _: str, __: Any) -> Any:
        """A trace function."""
        code = frame.f_code
        if code.co_filename != self._file or self._buried.is_set():
            return None
        if all(line != self._mark.line for _, _, line in code.co_lines()):
            return None
        return self._in_function

    def _in_function(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "line" and frame.f_lineno == self._mark.line and not self.reached.is_set():
            self.reached.set()
            self._buried.wait()
            raise Buried
        return self._in_function


@contextmanager
def dying_before(mark: Mark) -> Iterator[Death]:
    """Threads that are started within die before a step is begun, the first time one comes to it."""
    death = Death(mark)
    threading.settrace(death.at_call)
    try:
        yield death
    finally:
        threading.settrace(None)
