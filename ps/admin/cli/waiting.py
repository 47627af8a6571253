"""Saying that something is under way, once it takes longer than two seconds."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ps.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator

# Nobody wonders before; then often enough on a screen, and not too often in a log.
_QUIET_S = 2.0
_SCREEN_EVERY_S = 0.5
_LOG_EVERY_S = 10.0


class Step:
    """What is being done just now; set by whoever does it."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __call__(self, what: str) -> None:
        """It has come to something else."""
        self.what = what


# Told of by the outermost waiting(); there is one command in a process.
_under_way: list[Step] = []


@contextmanager
def waiting(what: str) -> Iterator[Step]:
    """Say on standard error what goes on, and for how long; one line that is painted over, or a log.

    Inside another, the other's line says it meanwhile.
    """
    if _under_way:
        outer = _under_way[0]
        before, outer.what = outer.what, what
        try:
            yield outer
        finally:
            outer.what = before
        return
    step, done = Step(what), threading.Event()
    _under_way.append(step)
    teller = threading.Thread(target=_tell, args=(step, done), name="waiting", daemon=True)
    teller.start()
    try:
        yield step
    finally:
        _under_way.clear()
        done.set()
        teller.join()


def _tell(step: Step, done: threading.Event) -> None:
    clock, screen = SystemClock(), sys.stderr.isatty()
    began_s = clock.monotonic_s()
    wait_s, longest = _QUIET_S, 0
    while not done.wait(wait_s):
        line = f"{step.what} … {clock.monotonic_s() - began_s:.0f} s"
        longest = max(longest, len(line))
        sys.stderr.write(f"\r{line:<{longest}}" if screen else f"{line}\n")
        sys.stderr.flush()
        wait_s = _SCREEN_EVERY_S if screen else _LOG_EVERY_S
    if screen and longest:
        sys.stderr.write(f"\r{'':<{longest}}\r")
        sys.stderr.flush()
