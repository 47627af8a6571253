"""A lock of many readers and one writer in which neither can starve the other."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class PhaseLock:
    """Readers share it, the writer has it alone, and they take turns.

    A reader waits for at most the one write that was under way or waiting when it came: readers that
    waited go before the next write. So a writer that takes the lock again and again, a chunk at a
    time, adds at most one chunk to a reader's latency, where a plain lock would let it barge in.
    (Brandenburg and Anderson 2010, phase-fair locks.) One thread at a time may write.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._phase = 0
        self._readers = 0
        self._readers_waiting = 0
        self._writer_present = False

    @contextmanager
    def read(self) -> Iterator[None]:
        """Hold it together with other readers. Not reentrant."""
        with self._changed:
            if self._writer_present:
                phase = self._phase
                self._readers_waiting += 1
                # The writer counts us among the readers as it leaves.
                self._changed.wait_for(lambda: self._phase != phase)
            else:
                self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                if self._readers == 0 and self._writer_present:
                    self._changed.notify_all()

    @contextmanager
    def write(self) -> Iterator[None]:
        """Hold it alone. The caller sees to it that one thread at a time asks."""
        with self._changed:
            self._writer_present = True
            self._changed.wait_for(lambda: self._readers == 0)
        try:
            yield
        finally:
            with self._changed:
                self._writer_present = False
                self._phase += 1
                self._readers = self._readers_waiting
                self._readers_waiting = 0
                self._changed.notify_all()
