"""The demo's run: everything at once for a given time, and what was seen of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.demo.comparison import Comparison
from cluster.demo.load import PredictLoad
from cluster.local import LocalRun

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    import pyarrow as pa

    from cluster.demo.load import Answer
    from cluster.plan import Plan
    from cluster.progress import RunProgress
    from model.batch import Batch
    from ps.arrays import F32
    from ps.clock import Clock
    from worker.events import EventChunk


@dataclass(frozen=True, slots=True)
class Seen:
    """What a run of the demo left: the last progress and those before, metrics, answers, errors."""

    final: RunProgress
    history: tuple[RunProgress, ...]
    comparison: Comparison
    answers: tuple[Answer, ...]
    errors: Mapping[str, int]
    replicas: int


class _Watch:
    """Sees every batch: compares it with the oracle, keeps it for the client, ends the run in time."""

    def __init__(self, clock: Clock, seconds: float, stop: threading.Event) -> None:
        self.comparison = Comparison(clock)
        self.recent: pa.RecordBatch | None = None
        self._clock = clock
        self._ends_s = clock.monotonic_s() + seconds
        self._stop = stop

    def observe(self, chunk: EventChunk, batch: Batch, probabilities: F32) -> None:
        self.comparison.observe(chunk, batch, probabilities)
        self.recent = chunk.columns
        if self._clock.monotonic_s() >= self._ends_s:
            self._stop.set()


def run_demo(
    plan: Plan,
    *,
    seconds: float,
    clock: Clock,
    stop: threading.Event,
    on_start: Callable[[tuple[str, ...], str | None], None],
    on_progress: Callable[[RunProgress], None],
) -> Seen:
    """Train for so many seconds, or until stop is set, while replicas serve and a client asks.

    on_start: told the servers' addresses and the admin service's. Kernels should have been compiled (cluster.warmup).
    Raises what LocalRun raises.
    """
    watch = _Watch(clock, seconds, stop)
    history: list[RunProgress] = []

    def note(progress: RunProgress) -> None:
        history.append(progress)
        on_progress(progress)

    with LocalRun(plan, clock=clock, serve=True, on_progress=note, on_batch=watch.observe) as run:
        run.start_servers()
        on_start(run.addresses, run.admin_address)
        load = PredictLoad(run.addresses, lambda: watch.recent, clock)
        load.start()
        try:
            final = run.run(stop)
        finally:
            load.stop()
    return Seen(
        final=final,
        history=tuple(history),
        comparison=watch.comparison,
        answers=tuple(load.answers),
        errors=dict(load.errors),
        replicas=plan.serve.replicas,
    )
