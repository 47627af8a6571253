"""The actor of a worker: a loop in a thread of a process that others start, watch and end."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ps.priority import run_behind_answers

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.loop import WorkerLoop
    from worker.reporting import WorkerIdentity


@dataclass(frozen=True, slots=True)
class WorkerHello:
    """A worker's process. error: what its loop has ended with, None while it has not."""

    identity: WorkerIdentity
    pid: int
    is_running: bool
    error: str | None = None


class WorkerActor:
    """Made an actor by the cluster, with a thread for stay() and some for the rest."""

    def __init__(self, make_loop: Callable[[], WorkerLoop]) -> None:
        """make_loop: called once, in the process of the actor; must survive pickling."""
        self._loop = make_loop()
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)

    def hello(self) -> WorkerHello:
        """Who is there."""
        error = None if self._error is None else repr(self._error)
        return WorkerHello(self._loop.identity, os.getpid(), self._thread.is_alive(), error)

    def run(self) -> None:
        """Begin to work, and return; no effect once begun."""
        if self._thread.ident is None:
            self._thread.start()

    def stay(self) -> None:
        """A tripwire: returns once the worker has been told to end and has, and raises what it failed
        with; to whoever waits for it, the death of the process is an error at once.
        """
        self._stop.wait()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def stop(self, timeout_s: float = 30.0) -> bool:
        """End after the batches under way; False where that is not done in time."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        run_behind_answers()
        try:
            self._loop.run(self._stop)
        except BaseException as error:  # noqa: BLE001  told to whoever stays
            self._error = error
        finally:
            self._stop.set()
