"""Reading ahead: a thread that works on the next items while the current one is learned from."""

from __future__ import annotations

import logging
import threading
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Final, Generic, Literal, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

logger = logging.getLogger(__name__)

# What is being made when reading ahead ends is waited for so long; a source may block for ever.
_CLOSE_S = 1.0


class Idle(Enum):
    """What next_within() gives where there is nothing yet."""

    IDLE = "idle"


IDLE: Final = Idle.IDLE


class Prefetcher(Generic[T]):
    """An iterator over the items of another, made ahead by one thread; a context manager.

    At most depth finished items wait. Their order is kept. An exception of the inner iterator is
    raised here, after the items before it. Leaving the context (or close()) stops the thread, which
    closes the inner iterator, and waits for both; for close_s at most: a thread whose source blocks
    is left behind. It is a daemon, and ends by itself once the source comes back to it.
    """

    def __init__(self, items: Iterator[T], depth: int = 2, *, close_s: float = _CLOSE_S) -> None:
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth}")
        self._items = items
        self._depth = depth
        self._close_s = close_s
        self._ready: deque[T] = deque()
        self._changed = threading.Condition()
        self._failure: BaseException | None = None
        self._finished = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        item = self._next(None)
        assert item is not IDLE  # noqa: S101  # waited for without end
        return item

    def next_within(self, timeout_s: float) -> T | Literal[Idle.IDLE]:
        """The next item, or IDLE where it is not there in time.

        Raises StopIteration after the last, and what the inner iterator raises.
        """
        return self._next(timeout_s)

    def _next(self, timeout_s: float | None) -> T | Literal[Idle.IDLE]:
        with self._changed:
            if not self._changed.wait_for(
                lambda: self._ready or self._finished or self._closed, timeout_s
            ):
                return IDLE
            if self._closed:
                raise StopIteration
            if self._ready:
                item = self._ready.popleft()
                self._changed.notify_all()
                return item
            failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        raise StopIteration

    def close(self) -> None:
        """Stop reading ahead and drop what waits; returns when the thread has ended, or is left behind."""
        with self._changed:
            self._closed = True
            self._ready.clear()
            self._changed.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join(self._close_s)
            if self._thread.is_alive():
                logger.warning(
                    "the source has not come back from reading within %g s; its thread is left behind",
                    self._close_s,
                )

    def _run(self) -> None:
        failure: BaseException | None = None
        try:
            self._fill()
        except BaseException as error:  # noqa: BLE001  handed to the consumer, whatever it is
            failure = error
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()
            with self._changed:
                self._failure = failure
                self._finished = True
                self._changed.notify_all()

    def _fill(self) -> None:
        for item in self._items:
            with self._changed:
                self._changed.wait_for(lambda: len(self._ready) < self._depth or self._closed)
                if self._closed:
                    return
                self._ready.append(item)
                self._changed.notify_all()
