"""A job's status painted over and over, until somebody has seen enough."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.text import Text

from ps.admin.cli.panels import status_panel
from ps.admin.cli.screen import console
from ps.admin.errors import AdminTimeoutError, AdminUnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from ps.admin.target import AdminTarget, JobStatus

_KEYS = "q ends"


def watch(job: AdminTarget, first: JobStatus, interval_s: float) -> None:
    """Paint the status anew every interval_s, until q or Ctrl-C.

    A job that is away for a while leaves its last status on the screen; other errors are raised.
    """
    picture = frame(first, None)
    with (
        suppress(KeyboardInterrupt),
        _quit_key() as key,
        Live(picture, console=console(), screen=True, auto_refresh=False) as live,
    ):
        live.refresh()
        while not key.pressed(interval_s):
            try:
                first, away = job.status(), None
            except (AdminUnreachableError, AdminTimeoutError) as error:
                away = str(error)
            live.update(frame(first, away), refresh=True)


def frame(status: JobStatus, away: str | None) -> RenderableType:
    """One picture. away: why it is not of now."""
    foot = Text(_KEYS, "dim")
    if away is not None:
        foot = Text(f"as it last was; {away}", "bold red").append(f"   {_KEYS}", "dim")
    return Group(status_panel(status), foot)


@dataclass
class _QuitKey:
    """Waits for q on a terminal that hands keys over one by one; without one, only waits."""

    on_terminal: bool

    def pressed(self, timeout_s: float) -> bool:
        """Whether q came within the time."""
        if not self.on_terminal:
            threading.Event().wait(timeout_s)
            return False
        import select

        ready, _, _ = select.select([sys.stdin], [], [], timeout_s)
        if not ready:
            return False
        keys = os.read(sys.stdin.fileno(), 64)
        return not keys or b"q" in keys.lower()


@contextmanager
def _quit_key() -> Iterator[_QuitKey]:
    if not sys.stdin.isatty():
        yield _QuitKey(on_terminal=False)
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield _QuitKey(on_terminal=True)
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
