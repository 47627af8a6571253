"""What several workers counted is what one would have counted."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.errors import WorkerStateError
from worker.event_time_guard import GuardState
from worker.merging import merge_states
from worker.metrics.progressive import MetricsSpec, ProgressiveMetrics
from worker.quarantine import QuarantineState
from worker.state import WorkerState

SPEC = MetricsSpec(window_s=None, total_bins=64, group_by=("g",), group_capacity=8, group_bins=16)


def metrics_of(seed: int, n: int) -> ProgressiveMetrics:
    rng = np.random.default_rng(seed)
    metrics = ProgressiveMetrics(SPEC)
    metrics.update(
        rng.random(n, np.float32),
        rng.integers(0, 2, n).astype(np.float32),
        rng.integers(0, 10**9, n),
        {"g": [f"v{i}" for i in rng.integers(0, 5, n)]},
    )
    return metrics


def state_of(seed: int) -> WorkerState:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(0, 50))
    clock_us = None if seed % 5 == 0 else int(rng.integers(0, 10))
    return WorkerState(
        metrics_of(seed, n).to_dict(),
        None if seed % 7 == 0 else GuardState(clock_us, seed),
        QuarantineState(n, seed, 2, {"torn": n, f"r{seed % 3}": 1}, {"a": seed}, {"b": n}),
        {"a": seed, f"p{seed % 4}": n},
        n,
        seed % 3,
        seed % 11,
    )


def plain(data: bytes) -> tuple[object, ...]:
    """All that a state says; metrics by their figures."""
    state = WorkerState.decode(data)
    metrics = ProgressiveMetrics.from_dict(state.metrics, SPEC)
    return (
        metrics.totals(),
        metrics.groups("g"),
        state.guard,
        state.quarantine,
        state.positions,
        state.examples,
        state.batches_dropped,
        state.positions_skipped,
    )


@given(seeds=st.lists(st.integers(0, 1_000), min_size=3, max_size=3))
@settings(max_examples=30)
def test_merging_does_not_depend_on_order_or_grouping(seeds: list[int]) -> None:
    encoded = [state_of(seed).encode() for seed in seeds]
    one, two, three = encoded
    whole = plain(merge_states(encoded))
    for order in permutations(encoded):
        assert plain(merge_states(order)) == whole
    assert plain(merge_states([merge_states([one, two]), three])) == whole
    assert plain(merge_states([one, merge_states([two, three])])) == whole


@given(seed=st.integers(0, 1_000))
def test_one_is_itself_and_none_is_nothing(seed: int) -> None:
    data = state_of(seed).encode()
    assert merge_states([data]) == data
    assert merge_states([b"", data, b""]) == data
    assert merge_states([]) == merge_states([b""]) == b""


@given(seed=st.integers(0, 1_000), cut=st.integers(0, 60))
@settings(max_examples=30)
def test_parts_of_a_stream_add_up_to_it(seed: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    arrays = (rng.random(60, np.float32), rng.integers(0, 2, 60).astype(np.float32))
    names = [f"v{i}" for i in rng.integers(0, 5, 60)]
    ts = np.arange(60)
    parts = [ProgressiveMetrics(SPEC) for _ in range(3)]
    for metrics, at in zip(parts, (slice(None), slice(0, cut), slice(cut, None)), strict=True):
        metrics.update(arrays[0][at], arrays[1][at], ts[at], {"g": names[at]})
    whole, *halves = [WorkerState(part.to_dict()).encode() for part in parts]
    assert plain(merge_states(halves)) == plain(whole)


def test_settings_are_those_of_the_last() -> None:
    old = WorkerState(ProgressiveMetrics(MetricsSpec(total_bins=32)).to_dict(), examples=5)
    new = WorkerState(metrics_of(1, 20).to_dict(), examples=20)
    merged = WorkerState.decode(merge_states([old.encode(), new.encode()]))
    assert merged.examples == 25
    assert ProgressiveMetrics.from_dict(merged.metrics, SPEC).totals().examples == 20


def test_what_is_no_state_is_refused() -> None:
    good = state_of(1).encode()
    with pytest.raises(WorkerStateError):
        merge_states([good, b"nonsense"])
    with pytest.raises(WorkerStateError, match="cannot be added up"):
        merge_states([good, WorkerState({"spec": {"window": 3}}).encode()])
