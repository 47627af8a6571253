"""A coordinator for the tests of worker loops: it says what it is told to say, and adds up reports."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from model.models.registry import build_model
from ps.clock import SystemClock
from ps.coordinator.orders import Assignment, WorkerOrders
from ps.errors import JobBusyError
from tests.worker.elsewhere import PATIENCE_S
from worker.batching import interleaved
from worker.event_time_guard import EventTimeGuard
from worker.loop import WorkerLoop
from worker.merging import merge_states
from worker.metrics.progressive import MetricsSpec
from worker.ownership import WorkerSettings
from worker.preparation import prepare
from worker.reporting import WorkerIdentity
from worker.skipping import leave_out
from worker.sources.again import Again, name_in_pass, skips_in_pass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from model.assemble import ExampleSpec
    from model.model import Model
    from ps.coordinator.orders import ReplicaOrders, ReplicaReport, WorkerReport
    from ps.store.commit import Skips
    from tests.worker.elsewhere import Shards
    from worker.event_time_guard import GuardState
    from worker.events import Source
    from worker.ownership import Cuts, OpenStream, Passes

BEAT_S = 0.01


@dataclass
class Command:
    """Coordination by the test's own thread. silent: workers that cannot reach it."""

    shards: Shards
    hold: int | None = None
    stop: bool = False
    generation: int = 0
    assignments: dict[int, Assignment] = field(default_factory=dict)
    reports: dict[int, WorkerReport] = field(default_factory=dict)
    silent: set[int] = field(default_factory=set)
    carried: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.heard = threading.Condition()
        # By worker: the orders it had when it gave its last report, and those it was given then.
        self.by: dict[int, WorkerOrders | None] = {}
        self.told: dict[int, WorkerOrders] = {}

    def work(self, report: WorkerReport) -> WorkerOrders:
        with self.heard:
            if report.worker in self.silent:
                raise JobBusyError("nobody there")
            last = self.reports.get(report.worker)
            if last and last.state and last.generation != report.generation:
                self.carried.append(last.state)
            self.reports[report.worker] = report
            self.by[report.worker] = self.told.get(report.worker)
            self.told[report.worker] = self._orders(report.worker)
            self.heard.notify_all()
            return self.told[report.worker]

    def serve(self, report: ReplicaReport) -> ReplicaOrders:
        raise NotImplementedError

    def state(self) -> bytes:
        """What is known of the stream over all."""
        with self.heard:
            return merge_states(
                [*self.carried, *(each.state for each in self.reports.values() if each.state)]
            )

    def assign(self, shares: Mapping[int, Sequence[str]], skips: Skips | None = None) -> None:
        """Give every worker these partitions, under generations of their own."""
        state = self.state() or None
        with self.heard:
            self.assignments = {}
            for worker, partitions in shares.items():
                self.generation += 1
                self.assignments[worker] = Assignment(
                    self.generation, tuple(partitions), skips or {}, state
                )

    def wait(self, until: Callable[[WorkerReport], bool], *workers: int) -> None:
        """Until these workers report so, by the orders as they are now."""

        def holds() -> bool:
            return all(
                worker in self.reports
                and self.by[worker] == self._orders(worker)
                and until(self.reports[worker])
                for worker in workers
            )

        with self.heard:
            assert self.heard.wait_for(holds, PATIENCE_S), self.reports

    def wait_for_phase(self, phase: str, *workers: int) -> None:
        self.wait(
            lambda report: (
                report.phase == phase and report.generation == self._generation_of(report.worker)
            ),
            *workers,
        )

    def _orders(self, worker: int) -> WorkerOrders:
        return WorkerOrders(
            self.shards.directory, self.assignments.get(worker), self.hold, self.stop
        )

    def _generation_of(self, worker: int) -> int | None:
        assignment = self.assignments.get(worker)
        return None if assignment is None else assignment.generation


def opened(
    source: Source,
    examples: ExampleSpec,
    batch_size: int,
    passes: int = 1,
    guards: list[GuardState | None] | None = None,
) -> OpenStream:
    """How a worker reads this source, pass by pass."""

    def open_stream(
        cuts: Cuts, skips: Skips, partitions: Sequence[str], state: GuardState | None
    ) -> Passes:
        guard = EventTimeGuard(3_600_000_000)
        if state is not None:
            guard.restore(state)
        if guards is not None:
            guards.append(state)
        for number in range(passes):
            here = Again(source, number) if number else source
            begins = {
                name: cuts.get(name, (0,))[0]
                for name in (name_in_pass(one, number) for one in partitions)
            }
            chunks = interleaved(here, begins, batch_size, cuts=cuts)
            yield (
                number,
                prepare(
                    leave_out(chunks, skips_in_pass(skips, number)), examples, guard, SystemClock()
                ),
            )

    return open_stream


def worker(
    number: int,
    command: Command,
    examples: ExampleSpec,
    open_stream: OpenStream,
    staleness: int = 0,
    passes: int = 1,
    make_model: Callable[[], Model] | None = None,
    metrics: MetricsSpec | None = None,
) -> WorkerLoop:
    return WorkerLoop(
        WorkerIdentity(number, f"process-{number}", "here", "same"),
        WorkerSettings(
            metrics or MetricsSpec(window_s=None, total_bins=64),
            staleness=staleness,
            passes=passes,
            beat_s=BEAT_S,
            state_every_s=0.0,
        ),
        connect=command.shards.connect,
        open_stream=open_stream,
        make_model=make_model or (lambda: build_model("counting", examples.features.layout, {})),
        layout=examples.features.layout,
        coordination=command,
        clock=SystemClock(),
    )


@contextmanager
def working(command: Command, *loops: WorkerLoop) -> Iterator[None]:
    """Loops at work in threads of their own, which end well."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def run(loop: WorkerLoop) -> None:
        try:
            loop.run(stop)
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=run, args=(loop,), daemon=True) for loop in loops]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE_S)
        command.shards.close()
    assert not errors
    assert not any(thread.is_alive() for thread in threads)
