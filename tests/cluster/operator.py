"""An operator for tests: asks for things at a given batch of a run, through threads of its own."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cluster.local import LocalRun
from ps.clock import ManualClock
from tests.e2e.plans import plan_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from cluster.local import GoOnFrom
    from cluster.progress import RunProgress
    from model.batch import Batch
    from ps.arrays import F32
    from ps.store.commit import Skips
    from tests.e2e.plans import Job
    from worker.events import EventChunk

_LONG_S = 60.0


class Operated:
    """A run in this thread. at: by number of the batch, what to ask right after it.

    answers, errors: what came of it, by number of the batch.
    """

    def __init__(
        self,
        job: Job,
        at: Mapping[int, Callable[[LocalRun], Any]] | None = None,
        *,
        stop_at: int | None = None,
        skips: Skips | None = None,
        serve: bool = False,
        go_on_from: GoOnFrom | None = None,
    ) -> None:
        self.answers: dict[int, Any] = {}
        self.errors: dict[int, BaseException] = {}
        self.said: list[str] = []
        self.batches = 0
        self._at = dict(at or {})
        self._stop_at = stop_at
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._clock = ManualClock(1)
        self.run = LocalRun(
            plan_of(job),
            clock=self._clock,
            serve=serve,
            on_batch=self._observe,
            go_on_from=go_on_from,
            say=self.said.append,
        )
        if skips is not None:
            self.run._learning.skips = skips
        self.progress: RunProgress | None = None

    def to_the_end(self) -> dict[str, Any]:
        """Run, close, and say what it came to."""
        with self.run:
            self.progress = self.run.run(self._stop)
            for thread in self._threads:
                thread.join(_LONG_S)
                assert not thread.is_alive()
            assert set(self.answers) | set(self.errors) == set(self._at)
            return result(self.run, self.progress)

    def _observe(self, chunk: EventChunk, batch: Batch, probabilities: F32) -> None:
        del chunk, batch, probabilities
        self.batches += 1
        self._clock.advance_s(0.02)
        if self.batches == self._stop_at:
            self._stop.set()
        if self.batches in self._at:
            self._ask(self.batches)

    def _ask(self, number: int) -> None:
        asked = threading.Event()

        def ask() -> None:
            try:
                self.answers[number] = self._at[number](self.run)
            except BaseException as error:  # noqa: BLE001  # the test looks at it
                self.errors[number] = error
            finally:
                asked.set()

        thread = threading.Thread(target=ask)
        self._threads.append(thread)
        thread.start()
        # On with the batch once the request waits: it is carried out right after.
        while not self.run._control._waiting and not asked.wait(0.001):
            pass


def result(run: LocalRun, progress: RunProgress) -> dict[str, Any]:
    """What must be equal where two runs have learned the same."""
    return {
        "digest": run.digest(),
        "metrics": run.metrics.to_dict(),
        "examples": progress.examples,
        "rows": (progress.rows, progress.rows_admitted, progress.rows_expired),
        "quarantined": progress.quarantined,
        "event_ts_us": progress.event_ts_us,
        "dropped": progress.batches_dropped,
    }


@contextmanager
def standing_still(run: LocalRun) -> Iterator[None]:
    """No batch between the steps of what an operator does: on a busy machine, that could be all."""
    run.target.pause("training")
    try:
        yield
    finally:
        run.target.resume("training")


def save(run: LocalRun) -> None:
    """Have all that is sealed in the store."""
    store = run._durability
    assert store is not None
    run._control.call("saving", store.save_now, deadline_s=30.0)


def some_point(run: LocalRun, epoch: int) -> int:
    """A restore point at about an epoch: where the disk is slow, epochs that wait become one."""
    save(run)
    return min(
        (point.epoch for point in run.target.restore_points()), key=lambda at: abs(at - epoch)
    )
