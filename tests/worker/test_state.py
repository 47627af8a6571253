"""A worker's state: what is saved goes on as if nothing had happened; what is no state is refused."""

from __future__ import annotations

import contextlib
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.client import RoutingClient
from ps.clock import ManualClock
from tests.worker.learning import EXAMPLES, FEATURES, chunk, make_model, make_shard
from worker.errors import WorkerStateError
from worker.event_time_guard import EventTimeGuard, GuardState
from worker.learners import BatchLearner, ExampleLearner
from worker.metrics.progressive import MetricsSpec, ProgressiveMetrics
from worker.preparation import prepare
from worker.quarantine import Quarantine, QuarantineState
from worker.skipping import leave_out
from worker.state import _HEADER, WorkerState
from worker.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ps.shard import Shard
    from ps.store.commit import Skips
    from worker.events import EventChunk
    from worker.learners import Learner

SPEC = MetricsSpec(window_s=7, group_by=("item",))
SKIPS: Skips = {"p": ((12, 15), (40, 52))}
END = 90


def stream(begin: int, batch: int) -> Iterator[EventChunk]:
    """Batches from begin on, of which some times jump, some labels are bad, some batches overflow."""
    for at in range(begin, END, batch):
        end = min(at + batch, END)
        raw = chunk(at, end, age=1e20 if at % 3 == 2 else None)
        clicks = raw.columns.column("click").to_pylist()
        for row, offset in enumerate(range(at, end)):
            clicks[row] = 7 if offset % 11 == 3 else clicks[row]
        times = [o * 10**6 + (10**9 if o % 7 == 5 else 0) for o in range(at, end)]
        names = raw.columns.schema.names
        columns: dict[str, list[Any]] = {
            name: raw.columns.column(name).to_pylist() for name in names
        }
        columns |= {"click": clicks, "ts": times}
        new = type(raw.columns).from_pydict(columns, schema=raw.columns.schema)
        yield replace(raw, columns=new)


def trainer_on(shard: Shard, *, by_example: bool = False) -> Trainer:
    learner: Learner = BatchLearner(make_model(), FEATURES.layout, RoutingClient([shard]))
    if by_example:
        learner = ExampleLearner(FEATURES.layout, shard)
    return Trainer(learner, ProgressiveMetrics(SPEC), Quarantine())


def run(trainer: Trainer, guard: EventTimeGuard, begin: int, batch: int, batches: int) -> None:
    """Learn so many batches, with all others prepared ahead."""
    chunks = leave_out(stream(begin, batch), SKIPS)
    for one in list(prepare(chunks, EXAMPLES, guard, ManualClock()))[:batches]:
        trainer.learn(one)


def new_guard() -> EventTimeGuard:
    return EventTimeGuard(100_000_000, patience=4)


@pytest.mark.parametrize("by_example", [False, True])
@given(batch=st.integers(1, 30), stops=st.lists(st.integers(0, 12), max_size=3))
@settings(max_examples=20)
def test_a_worker_that_resumes_ends_as_one_that_never_stopped(
    by_example: bool, batch: int, stops: list[int]
) -> None:
    whole = trainer_on(make_shard(), by_example=by_example)
    run(whole, new_guard(), 0, batch, 10**6)
    shard = make_shard()
    state = trainer_on(make_shard()).state()
    for batches in [*stops, 10**6]:
        trainer, guard = trainer_on(shard, by_example=by_example), new_guard()
        assert trainer.restore(state) == []
        if state.guard is not None:
            guard.restore(state.guard)
        run(trainer, guard, shard.positions().get("p", 0), batch, batches)
        state = WorkerState.decode(trainer.state().encode())
    assert state == whole.state()
    assert state.positions == {"p": END}
    assert state.positions_skipped == 15
    assert state.quarantine.records > 0


def test_going_back_forgets_what_came_after() -> None:
    trainer, guard, shard = trainer_on(make_shard()), new_guard(), make_shard()
    run(trainer, guard, 0, 10, 3)
    early = WorkerState.decode(trainer.state().encode())
    run(trainer, guard, 30, 10, 4)
    assert trainer.state() != early
    assert trainer.restore(early) == []
    assert trainer.state() == early
    assert shard.positions() == {}


def test_what_a_younger_shard_is_sent_again_counts_for_nothing() -> None:
    shard = make_shard()
    trainer = trainer_on(shard)
    run(trainer, new_guard(), 0, 10, 6)
    before = trainer.state()
    younger = trainer_on(make_shard())
    younger.restore(before)
    run(younger, new_guard(), 0, 10, 6)
    assert replace(younger.state(), guard=None) == replace(before, guard=None)
    run(younger, new_guard(), 60, 10, 1)
    assert younger.examples > before.examples


def test_settings_that_changed_cost_those_metrics_and_no_more() -> None:
    trainer = trainer_on(make_shard())
    run(trainer, new_guard(), 0, 10, 6)
    state = trainer.state()
    learner = BatchLearner(make_model(), FEATURES.layout, RoutingClient([make_shard()]))
    other = Trainer(learner, ProgressiveMetrics(MetricsSpec(window_s=9)), Quarantine())
    assert other.restore(state) == ["metrics by window (window_s was 7, is 9)"]
    assert other.metrics.totals() == trainer.metrics.totals()
    assert other.examples == trainer.examples
    afresh = other.restore(replace(state, metrics={"version": 99}))
    assert afresh == ["all metrics (metrics state of version 99, not 2)"]
    assert other.metrics.totals().examples == 0
    assert other.examples == trainer.examples


def full() -> WorkerState:
    return WorkerState(
        metrics=ProgressiveMetrics(SPEC).to_dict(),
        guard=GuardState(5, 1, 2, 3, 4, 5, 6),
        quarantine=QuarantineState(3, 1, 20, {"bad": 3}, {"p": 9}, {"p": 30}),
        positions={"p": 30, "q#1": 7},
        examples=10,
        batches_dropped=1,
        positions_skipped=4,
    )


def test_the_bytes_hold_everything() -> None:
    assert WorkerState.decode(full().encode()) == full()
    assert WorkerState.decode(replace(full(), guard=None).encode()).guard is None


def packed(found: object, *, length: int | None = None, version: int = 1) -> bytes:
    plain = found if isinstance(found, bytes) else msgpack.packb(found)
    announced = len(plain) if length is None else length
    return _HEADER.pack(version, announced) + zlib.compress(plain)


def fields(**changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = msgpack.unpackb(zlib.decompress(full().encode()[_HEADER.size :]))
    return {**whole, **changes}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        full().encode()[:-1],
        full().encode() + b"x",
        packed(fields(), version=2),
        packed(fields(), length=10),
        packed(fields(), length=1 << 40),
        packed(bytes(1 << 20), length=1),
        packed([1, 2]),
        packed({}),
        packed(b"\xc1"),
        packed(fields(guard={"clock_us": 1})),
        packed(fields(guard=[1])),
        packed(fields(positions={"p": "far"})),
        packed(fields(positions=3)),
        packed(fields(quarantine={})),
        packed(fields(metrics=None)),
        packed(fields(examples=float("inf"))),
    ],
)
def test_what_is_no_state_is_refused(data: bytes) -> None:
    with pytest.raises(WorkerStateError):
        WorkerState.decode(data)


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_flipped_byte_is_found_or_harmless(at: int, flip: int) -> None:
    """What zlib's checksum lets pass (the version) is told apart by itself; nothing else is raised."""
    data = bytearray(full().encode())
    data[at % len(data)] ^= flip
    with contextlib.suppress(WorkerStateError):
        assert WorkerState.decode(bytes(data)) == full()


def test_a_state_beyond_all_bounds_is_not_written() -> None:
    huge = replace(full(), metrics={"total": bytes(65 << 20)})
    with pytest.raises(WorkerStateError, match="lower group_capacity"):
        huge.encode()


def test_a_thousand_windows_are_small() -> None:
    metrics = ProgressiveMetrics(MetricsSpec(window_s=1, keep_windows=1_000))
    half = np.full(4, 0.25, np.float32)
    for second in range(1_200):
        metrics.update(half, half > 0.5, np.full(4, second * 1_000_000))  # type: ignore[arg-type]
    assert len(metrics.windows()) == 1_000
    assert len(WorkerState(metrics.to_dict()).encode()) < 100_000
