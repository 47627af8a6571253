"""Ctrl-C and SIGTERM as a request to stop, whatever the main thread is doing."""

from __future__ import annotations

import os
import signal
import socket
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import FrameType, TracebackType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopOnSignal:
    """Sets stop at the first SIGINT or SIGTERM, ends the process at the second; a context manager.

    The interpreter writes signals to a socket, from which a thread reads them: the handler itself
    takes no lock, so the main thread may wait for stop, or be deep in a kernel, when it comes. Only
    for the main thread.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.signal: signal.Signals | None = None
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
        self._before: dict[signal.Signals, signal._HANDLER] = {}
        self._fd_before = -1

    @property
    def cause(self) -> str:
        """What made it stop, as people call it; empty where no signal came."""
        if self.signal is None:
            return ""
        return "Ctrl-C" if self.signal == signal.SIGINT else self.signal.name

    @property
    def exit_code(self) -> int:
        """0, or what a shell makes of the signal that came."""
        return 0 if self.signal is None else 128 + self.signal

    def __enter__(self) -> Self:
        self._thread.start()
        self._fd_before = signal.set_wakeup_fd(self._writer.fileno())
        self._before = {number: signal.signal(number, _nothing) for number in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._fd_before)
        self._writer.close()
        self._thread.join()
        self._reader.close()

    def _listen(self) -> None:
        while received := self._reader.recv(16):
            for number in received:
                if number not in _SIGNALS:
                    continue
                if self.stop.is_set():
                    os._exit(128 + number)
                self.signal = signal.Signals(number)
                self.stop.set()


def _nothing(number: int, frame: FrameType | None) -> None:
    """The interpreter only writes to the socket where a signal has a Python handler."""
    del number, frame
