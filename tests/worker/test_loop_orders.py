"""What a worker does by which orders, one at a time."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from cluster.local.run import LocalRun
from cluster.local.stream import passes
from ps.clock import SystemClock
from ps.errors import PositionGapError
from ps.shard import Shard
from tests.e2e.plans import Job, plan_of
from tests.worker.command import Command, opened, worker, working
from tests.worker.elsewhere import PATIENCE_S, Shards
from tests.worker.test_loop import BATCH, assert_counted_once, examples_known, shards_of
from tests.worker.test_resume import ONE_ID, Ids
from worker.actor import WorkerActor
from worker.event_time_guard import EventTimeGuard
from worker.metrics.progressive import ProgressiveMetrics
from worker.preparation import prepare
from worker.state import WorkerState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from ps.coordinator.orders import WorkerOrders, WorkerReport
    from ps.messages import Push, PushReceipt
    from ps.store.commit import Skips
    from ps.stream import Span
    from worker.event_time_guard import GuardState
    from worker.events import EventChunk
    from worker.ownership import Cuts, Passes

SOURCE = Ids({"a": 300, "b": 200}, [11])


def rng() -> np.random.Generator:
    from numpy.random import default_rng

    return default_rng(1)


@pytest.mark.parametrize("kind", ["logistic", "deepfm"])
def test_one_worker_without_staleness_learns_what_one_process_does(kind: str) -> None:
    plan = plan_of(Job(kind, shards=2, records=3_000, malformed_share=0.01, passes=2))
    with LocalRun(plan, clock=SystemClock(), serve=False) as run:
        run.run(threading.Event())
        expected = [shard.digest() for shard in run._learning.shards]
        totals = run.metrics.totals()

    def open_stream(
        cuts: Cuts, skips: Skips, partitions: Sequence[str], state: GuardState | None
    ) -> Passes:
        guard = EventTimeGuard(3_600_000_000)
        if state is not None:
            guard.restore(state)
        for number, chunks in passes(plan, cuts, skips, partitions):
            yield number, prepare(chunks, plan.examples, guard, SystemClock())

    shards = Shards(plan.shards, rng())
    command = Command(shards)
    command.assign({0: plan.source.partitions()})
    loop = worker(
        0, command, plan.examples, open_stream, passes=2, make_model=plan.make_model,
        metrics=plan.train.metrics,
    )  # fmt: skip
    with working(command, loop):
        command.wait_for_phase("finished", 0)
    assert [process.shard.digest() for process in shards.processes] == expected
    state = WorkerState.decode(command.state())
    assert ProgressiveMetrics.from_dict(state.metrics, plan.train.metrics).totals() == totals


def test_a_hold_evens_out_shards_and_nothing_is_asked_of_them_until_it_ends() -> None:
    shards = shards_of(2)
    command = Command(shards)
    command.assign({0: "ab"})
    with working(command, worker(0, command, ONE_ID, opened(SOURCE, ONE_ID, BATCH), 1)):
        younger = shards.processes[1].saved()
        assert shards.wait_for_pushes(40)
        command.hold = 7
        command.wait(lambda report: report.held == 7 and report.phase == "held", 0)
        # While it is held, a shard falls back: it is told what it lacks, and nothing beyond.
        reached = dict(shards.processes[0].shard.positions())
        shards.replace(1, younger)
        command.wait(lambda report: report.held == 7, 0)
        assert [p.shard.positions() for p in shards.processes] == [reached, reached]
        assert not shards.wait_for_pushes(1, timeout_s=0.05)
        assert sum(reached.values()) < 500
        command.hold = None
        command.wait_for_phase("finished", 0)
    assert_counted_once(shards, SOURCE)
    assert examples_known(command) == 500


def test_it_goes_on_as_told_last_where_the_coordinator_is_away() -> None:
    shards = shards_of(1)
    command = Command(shards)
    command.assign({0: "ab"})
    with working(command, worker(0, command, ONE_ID, opened(SOURCE, ONE_ID, BATCH), 1)):
        assert shards.wait_for_pushes(1)
        command.silent = {0}
        with shards.pushed:
            assert shards.pushed.wait_for(
                lambda: shards.processes[0].shard.positions() == {"a": 300, "b": 200}, PATIENCE_S
            )
        command.silent = set()
        command.wait_for_phase("finished", 0)
    assert examples_known(command) == 500


def test_one_that_has_finished_gives_a_shard_that_fell_back_what_it_lacks() -> None:
    shards = shards_of(2)
    command = Command(shards)
    command.assign({0: "ab"})
    young = shards.processes[0].saved()
    with working(command, worker(0, command, ONE_ID, opened(SOURCE, ONE_ID, BATCH), 2)):
        command.wait_for_phase("finished", 0)
        shards.kill(0)
        command.wait_for_phase("waiting", 0)
        shards.replace(0, young)
        command.wait_for_phase("finished", 0)
        assert_counted_once(shards, SOURCE)
        command.assign({})
        command.wait(lambda report: report.generation is None and report.phase == "waiting", 0)
        command.stop = True
    assert examples_known(command) == 500


def test_a_shard_that_does_not_answer_is_suspected_until_it_does() -> None:
    shards = shards_of(2)
    command = Command(shards)
    command.assign({0: "ab"})
    with working(command, worker(0, command, ONE_ID, opened(SOURCE, ONE_ID, BATCH), 1)):
        assert shards.wait_for_pushes(5)
        shards.processes[1].loss = 2.0
        command.wait(lambda report: report.suspects == (1,), 0)
        shards.processes[1].loss = 0.0
        command.wait_for_phase("finished", 0)
        assert command.reports[0].suspects == ()
    assert len(shards.connections) == 2
    assert_counted_once(shards, SOURCE)


def test_only_a_new_leader_is_connected_to() -> None:
    shards = shards_of(3)
    command = Command(shards)
    command.assign({0: "ab"})
    with working(command, worker(0, command, ONE_ID, opened(SOURCE, ONE_ID, BATCH), 1)):
        assert shards.wait_for_pushes(9)
        shards.replace(1)
        command.wait_for_phase("finished", 0)
        assert [c.process.leader.shard for c in shards.connections] == [0, 1, 2, 1]
        assert [c.is_closed for c in shards.connections] == [False, True, False, False]
    assert_counted_once(shards, SOURCE)


def test_a_source_that_breaks_is_told_of_once_what_came_before_is_learned() -> None:
    torn = replace(SOURCE, fails=True)
    shards = shards_of(1)
    command = Command(shards)
    command.assign({0: "b"})
    with working(command, worker(0, command, ONE_ID, opened(torn, ONE_ID, BATCH), 2)):
        command.wait_for_phase("failed", 0)
        assert "torn" in (command.reports[0].error or "")
        assert shards.processes[0].shard.positions() == {"b": 200}
        command.hold = 3
        command.wait(lambda report: report.held == 3 and report.phase == "failed", 0)
        command.hold = None
        torn.fails = False
        command.assign({0: "ab"})
        command.wait_for_phase("finished", 0)
        assert command.reports[0].error is None
    assert_counted_once(shards, SOURCE)
    assert examples_known(command) == 500


def test_a_shard_that_never_takes_what_it_says_it_lacks_is_given_up() -> None:
    class Deaf(Shard):
        def push(self, push: Push) -> PushReceipt:
            raise PositionGapError(push.span.partition, 1, 2, 3)

    shards = shards_of(1)
    shards.processes[0].shard = Deaf(shards.specs[0])
    command = Command(shards)
    command.assign({0: "a"})
    with working(command, worker(0, command, ONE_ID, opened(SOURCE, ONE_ID, BATCH), 1)):
        command.wait_for_phase("failed", 0)
        assert "does not fit" in (command.reports[0].error or "")


def test_what_is_no_state_fails_the_assignment_and_the_next_may_do() -> None:
    shards = shards_of(1)
    command = Command(shards)
    command.assign({0: "ab"})
    command.assignments[0] = replace(command.assignments[0], state=b"nonsense")
    with working(command, worker(0, command, ONE_ID, opened(SOURCE, ONE_ID, BATCH))):
        command.wait_for_phase("failed", 0)
        command.assign({0: "ab"})
        command.wait_for_phase("finished", 0)


def test_skips_are_left_out_and_what_was_counted_is_not_counted_again() -> None:
    shards = shards_of(2)
    command = Command(shards)
    command.assign({0: "ab"}, {"a": ((10, 30),)})
    with working(command, worker(0, command, ONE_ID, opened(SOURCE, ONE_ID, BATCH), 1)):
        command.wait_for_phase("finished", 0)
        assert examples_known(command) == 480
        # All shards begin anew, and nobody who counts does.
        for number, spec in enumerate(shards.specs):
            shards.replace(number, Shard(spec).seal(0))
        command.assign({0: "ab"})
        command.wait_for_phase("finished", 0)
    assert examples_known(command) == 480
    assert_counted_once(shards, SOURCE)


def test_what_nobody_will_count_any_more_is_no_reason_to_wait_for_reports() -> None:
    shards = shards_of(2)
    dead, command = Command(shards), Command(shards)
    dead.assign({0: "ab"})
    with working(dead, worker(0, dead, ONE_ID, opened(SOURCE, ONE_ID, BATCH))):
        dead.wait_for_phase("finished", 0)
    command.generation = 1
    command.assign({0: "ab"})
    with working(command, worker(0, command, ONE_ID, opened(SOURCE, ONE_ID, BATCH))):
        command.wait_for_phase("finished", 0)
        assert command.reports[0].counted == {"a": 300, "b": 200}
    assert examples_known(command) == 0
    assert_counted_once(shards, SOURCE)


def test_a_rewind_judges_event_times_as_of_the_place_rewound_to() -> None:
    shards = shards_of(1)
    command = Command(shards)
    command.assign({0: "a"})
    guards: list[GuardState | None] = []
    stream = opened(SOURCE, ONE_ID, BATCH, guards=guards)
    with working(command, worker(0, command, ONE_ID, stream, 1)):
        assert shards.wait_for_pushes(10)
        shards.replace(0)
        command.wait_for_phase("finished", 0)
    begins = shards.processes[0].pushes[0].span.begin
    assert guards[0] is None
    # Record n of a partition has event time n milliseconds.
    assert guards[-1] is not None
    assert guards[-1].clock_us == (begins - 1) * 1_000


def test_reports_go_on_while_a_batch_takes_long() -> None:
    shards = shards_of(1)
    command = Command(shards)
    command.assign({0: "a"})
    with working(command, worker(0, command, ONE_ID, opened(SOURCE, ONE_ID, BATCH))):
        assert shards.wait_for_pushes(1)
        with shards.processes[0].lock:
            for _ in range(3):
                with command.heard:
                    command.reports.clear()
                command.wait(lambda report: report.phase == "learning", 0)
        command.wait_for_phase("finished", 0)
    stages = command.reports[0].stages
    assert set(stages) == {"read", "pull", "compute", "push", "wait"}
    assert stages["compute"] > 0.0


def test_an_actor_says_who_it_is_and_stays_until_it_is_told_to_end() -> None:
    shards = shards_of(1)
    command = Command(shards)
    command.assign({0: "ab"})
    actor = WorkerActor(lambda: worker(4, command, ONE_ID, opened(SOURCE, ONE_ID, BATCH)))
    assert not actor.hello().is_running
    actor.run()
    actor.run()
    stays = threading.Thread(target=actor.stay, daemon=True)
    stays.start()
    command.assignments[4] = command.assignments[0]
    command.wait(lambda report: report.phase == "finished", 4)
    assert actor.hello().identity.worker == 4
    assert actor.hello().is_running
    assert stays.is_alive()
    assert actor.stop(PATIENCE_S)
    stays.join(PATIENCE_S)
    assert not stays.is_alive()
    shards.close()


def test_an_actor_whose_loop_fails_says_what_with() -> None:
    class Broken(Command):
        def work(self, report: WorkerReport) -> WorkerOrders:
            raise RuntimeError(f"out of order: {report.worker}")

    broken = Broken(shards_of(1))
    actor = WorkerActor(lambda: worker(0, broken, ONE_ID, opened(SOURCE, ONE_ID, BATCH)))
    actor.run()
    with pytest.raises(RuntimeError, match="out of order: 0"):
        actor.stay()
    assert actor.hello().error == "RuntimeError('out of order: 0')"


def spans(chunks: Iterator[EventChunk]) -> list[Span]:
    return [chunk.span for chunk in chunks]


def test_readers_of_some_partitions_read_together_what_one_reads() -> None:
    plan = plan_of(Job("counting", records=1_000, partitions=3, passes=2, max_examples=700))
    names = plan.source.partitions()
    whole = [(n, s) for n, chunks in passes(plan, {}, {}) for s in spans(chunks)]
    parts = [
        (n, s)
        for own in ([names[1]], [names[0], names[2]])
        for n, chunks in passes(plan, {}, {}, own)
        for s in spans(chunks)
    ]
    assert sorted(parts, key=str) == sorted(whole, key=str)
    assert list(passes(plan, {}, {}, [])) == []


def test_each_partition_goes_on_in_the_pass_it_is_in() -> None:
    """They may have had other readers, some of which were further on."""
    plan = plan_of(Job("counting", records=1_000, partitions=2, passes=3, batch_size=100))
    one, two = plan.source.partitions()
    ends = {s.partition: s.end for _, chunks in passes(plan, {}, {}) for s in spans(chunks)}
    cuts = {one: (100,), two: (ends[two],), f"{two}#1": (200, 300)}
    read = [(n, s) for n, chunks in passes(plan, cuts, {}) for s in spans(chunks)]
    first: dict[str, int] = {}
    for _, span in read:
        first.setdefault(span.partition, span.begin)
    assert first == {one: 100, f"{one}#1": 0, f"{two}#1": 200, f"{one}#2": 0, f"{two}#2": 0}
    assert [n for n, _ in read] == sorted(n for n, _ in read)
