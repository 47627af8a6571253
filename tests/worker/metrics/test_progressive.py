"""Progressive validation against brute force, and the laws of merging."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import msgpack
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.errors import MetricsError
from worker.metrics.auc import exact_auc
from worker.metrics.progressive import MetricsSpec, ProgressiveMetrics

if TYPE_CHECKING:
    from ps.arrays import F32, I64

SECOND = 1_000_000
seeds = st.integers(0, 2**32 - 1)


def examples(seed: int, n: int) -> tuple[F32, F32, I64, list[str]]:
    random = np.random.default_rng(seed)
    p = random.random(n).astype(np.float32)
    y = (random.random(n) < p).astype(np.float32)
    t = np.arange(n) * SECOND
    g = [f"g{k}" for k in random.integers(0, 5, n)]
    return p, y, t, g


def fed(
    spec: MetricsSpec, seed: int, n: int, cuts: list[int], order: I64 | None = None
) -> ProgressiveMetrics:
    p, y, t, g = examples(seed, n)
    if order is not None:
        p, y, t, g = p[order], y[order], t[order], [g[i] for i in order]
    metrics = ProgressiveMetrics(spec)
    edges = [0, *sorted(c % (n + 1) for c in cuts), n]
    for a, b in itertools.pairwise(edges):
        metrics.update(p[a:b], y[a:b], t[a:b], {"g": g[a:b]} if spec.group_by else None)
    return metrics


@given(seeds, st.integers(2, 300))
@settings(max_examples=30)
def test_totals_equal_the_definitions_in_float64(seed: int, n: int) -> None:
    p32, y, t, _ = examples(seed, n)
    metrics = ProgressiveMetrics()
    metrics.update(p32, y, t)
    total = metrics.totals()
    p = p32.astype(np.float64)
    loss = float(np.mean(-(y * np.log(p) + (1 - y) * np.log(1 - p))))
    rate = float(y.mean())
    assert total.examples == n
    assert total.positives == int(y.sum())
    assert total.log_loss == pytest.approx(loss, abs=1e-8)
    assert total.mean_prediction == pytest.approx(float(p.mean()), abs=1e-8)
    if 0 < rate < 1:
        entropy = -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))
        assert total.normalized_entropy == pytest.approx(loss / entropy, rel=1e-7)
        assert total.calibration == pytest.approx(float(p.sum() / y.sum()), rel=1e-7)
        exact = exact_auc(p32, y == 1)
        assert exact is not None
        assert total.auc is not None
        assert total.auc_error is not None
        assert abs(total.auc - exact) <= total.auc_error + 1e-12


@given(seeds, st.lists(st.integers(0, 500), max_size=6))
@settings(max_examples=30)
def test_batch_cuts_change_nothing(seed: int, cuts: list[int]) -> None:
    spec = MetricsSpec(window_s=30, group_by=("g",))
    whole, parts = fed(spec, seed, 200, []), fed(spec, seed, 200, cuts)
    assert parts.totals() == whole.totals()
    assert parts.windows() == whole.windows()
    assert parts.groups("g") == whole.groups("g")


@given(seeds)
@settings(max_examples=30)
def test_order_does_not_matter_for_totals_and_groups(seed: int) -> None:
    spec = MetricsSpec(window_s=None, group_by=("g",))
    order = np.random.default_rng(seed).permutation(200)
    whole, shuffled = fed(spec, seed, 200, []), fed(spec, seed, 200, [50], order)
    assert shuffled.totals() == whole.totals()
    assert shuffled.groups("g") == whole.groups("g")


@given(seeds, st.integers(0, 200))
@settings(max_examples=30)
def test_merging_equals_updating_at_once(seed: int, at: int) -> None:
    spec = MetricsSpec(window_s=30, lateness_s=1_000, group_by=("g",))
    p, y, t, g = examples(seed, 200)
    first, second = ProgressiveMetrics(spec), ProgressiveMetrics(spec)
    first.update(p[:at], y[:at], t[:at], {"g": g[:at]})
    second.update(p[at:], y[at:], t[at:], {"g": g[at:]})
    first.merge(second)
    whole = fed(spec, seed, 200, [])
    assert first.totals() == whole.totals()
    assert first.windows() == whole.windows()
    assert first.groups("g") == whole.groups("g")


@given(seeds, st.integers(1, 60))
@settings(max_examples=20)
def test_a_restored_state_goes_on_as_the_original(seed: int, exact_limit: int) -> None:
    spec = MetricsSpec(window_s=30, group_by=("g",), exact_limit=exact_limit, group_capacity=2)
    metrics = fed(spec, seed, 200, [70])
    restored = ProgressiveMetrics.from_dict(msgpack.unpackb(msgpack.packb(metrics.to_dict())), spec)
    assert restored.to_dict() == metrics.to_dict()
    for each in (metrics, restored):
        p, y, t, g = examples(seed + 1, 50)
        each.update(p, y, t + 200 * SECOND, {"g": g})
    assert restored.to_dict() == metrics.to_dict()
    assert restored.totals() == metrics.totals()
    assert restored.windows() == metrics.windows()
    assert restored.groups("g") == metrics.groups("g")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 7}, "version 7"),
        ({"spec": None}, "not the state"),
        ({"invalid": "many"}, "not the state"),
        ({"total": {}}, "not the state"),
        ({"total": {"gaps": b"\x03abc"}}, "not the state"),
        ({"windows": []}, "not the state"),
        ({"windows": {"late": 0, "event_ts_us": 0, "open": [[0, {}]]}}, "not the state"),
        ({"groups": {"g": {"values": ["a"] * 101, "sums": {}}}}, "more groups"),
        ({"groups": {"g": {"values": ["a"]}}}, "not the state"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(change: dict[str, object], said: str) -> None:
    spec = MetricsSpec(window_s=30, group_by=("g",))
    state = fed(spec, 1, 100, []).to_dict()
    metrics = fed(spec, 2, 100, [])
    with pytest.raises(MetricsError, match=said):
        metrics.restore({**state, **change})
    assert metrics.to_dict() == ProgressiveMetrics(spec).to_dict()
    with pytest.raises(MetricsError):
        ProgressiveMetrics.from_dict({}, spec)


def test_sums_of_more_cells_than_there_are_bins_are_refused() -> None:
    state = ProgressiveMetrics(MetricsSpec(total_bins=4)).to_dict()
    state["total"] |= {"gaps": b"\x01\x08", "counts": b"\x01\x01"}
    with pytest.raises(MetricsError, match="more sums than there is room"):
        ProgressiveMetrics(MetricsSpec(total_bins=4)).restore(state)


@pytest.mark.parametrize(
    ("spec", "afresh"),
    [
        (MetricsSpec(window_s=30, group_by=("g",)), []),
        (MetricsSpec(window_s=30, group_by=()), []),
        (MetricsSpec(window_s=30, group_by=("g",), keep_windows=2), []),
        (MetricsSpec(window_s=None, group_by=("g",)), []),
        (MetricsSpec(window_s=60, group_by=("g",)), ["by window (window_s was 30, is 60)"]),
        (MetricsSpec(window_s=30, group_by=("g", "h")), ["by h (new in group_by)"]),
        (
            MetricsSpec(window_s=30, group_by=("g",), group_capacity=9, total_bins=8),
            ["in total (total_bins was 16384, is 8)", "by g (group_capacity was 50, is 9)"],
        ),
    ],
)
def test_what_a_changed_spec_leaves_goes_on_and_the_rest_is_named(
    spec: MetricsSpec, afresh: list[str]
) -> None:
    old = fed(MetricsSpec(window_s=30, group_by=("g",)), 3, 200, [])
    metrics = ProgressiveMetrics(spec)
    assert metrics.restore(old.to_dict()) == [f"metrics {each}" for each in afresh]
    if not any("total" in each for each in afresh):
        assert metrics.totals() == old.totals()
    if not any("window" in each for each in afresh) and spec.window_s is not None:
        assert metrics.windows() == old.windows()[-spec.keep_windows :]
    p, y, t, g = examples(4, 50)
    metrics.update(p, y, t + 200 * SECOND, {"g": g, "h": g})


def test_closed_windows_add_up_with_an_auc_between_theirs() -> None:
    spec = MetricsSpec(window_s=30)
    early, late, whole = (ProgressiveMetrics(spec) for _ in range(3))
    p, y, t, _ = examples(1, 100)
    for one, rows in ((early, slice(0, 45)), (late, slice(45, 100)), (whole, slice(0, 100))):
        one.update(p[rows], y[rows], t[rows])
    parts = [early.windows()[1].metrics.auc, late.windows()[0].metrics.auc]
    early.merge(late)
    found, expected = early.windows(), whole.windows()
    assert [w.closed for w in found] == [w.closed for w in expected]
    assert found[0] == expected[0]
    assert found[2:] == expected[2:]
    auc, exact = found[1].metrics.auc, expected[1].metrics.auc
    known = [part for part in parts if part is not None]
    assert auc is not None
    assert exact is not None
    assert min(known) - 1e-12 <= auc <= max(known) + 1e-12
    assert found[1].metrics.auc_error is None
    assert found[1].metrics.log_loss == expected[1].metrics.log_loss
    assert found[1].metrics.examples == expected[1].metrics.examples


def test_metrics_of_different_specs_are_not_merged() -> None:
    with pytest.raises(MetricsError, match="another spec"):
        ProgressiveMetrics(MetricsSpec(window_s=1)).merge(ProgressiveMetrics())


def test_certain_predictions_have_a_bounded_loss() -> None:
    metrics = ProgressiveMetrics()
    metrics.update(np.array([0.0, 1.0], np.float32), np.array([1, 0], np.float32), np.zeros(2, int))
    assert metrics.totals().log_loss == pytest.approx(16.0, abs=1e-6)
    assert metrics.totals().auc == 0.0


def test_logits_and_probabilities_agree() -> None:
    z = np.linspace(-5, 5, 101, dtype=np.float32)
    p = (1 / (1 + np.exp(-z.astype(np.float64)))).astype(np.float32)
    y = (np.arange(101) % 3 == 0).astype(np.float32)
    by_logit, by_probability = ProgressiveMetrics(), ProgressiveMetrics()
    by_logit.update_logits(z, y, np.zeros(101, np.int64))
    by_probability.update(p, y, np.zeros(101, np.int64))
    assert by_logit.totals().log_loss == pytest.approx(by_probability.totals().log_loss, abs=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.5, 1.5])
def test_unusable_predictions_are_counted_apart(bad: float) -> None:
    metrics = ProgressiveMetrics(MetricsSpec(group_by=("g",)))
    p = np.array([0.5, bad, 0.25], np.float32)
    metrics.update(
        p, np.array([1, 0, 0], np.float32), np.zeros(3, np.int64), {"g": ["a", "b", "a"]}
    )
    assert metrics.invalid == 1
    assert metrics.totals().examples == 2
    assert list(metrics.groups("g")) == ["a"]


@pytest.mark.parametrize("bad", [np.nan, 2.0, -1.0, 0.5])
def test_unusable_labels_are_counted_apart(bad: float) -> None:
    metrics = ProgressiveMetrics()
    labels = np.array([1.0, bad], np.float32)
    metrics.update(np.full(2, 0.5, np.float32), labels, np.zeros(2, np.int64))
    assert metrics.invalid == 1
    assert metrics.totals().examples == 1


def test_empty_batches_and_single_classes_leave_metrics_undefined() -> None:
    metrics = ProgressiveMetrics()
    empty = np.empty(0, np.float32)
    metrics.update(empty, empty, np.empty(0, np.int64))
    assert metrics.totals().log_loss is None
    metrics.update(np.full(3, 0.2, np.float32), np.zeros(3, np.float32), np.zeros(3, np.int64))
    total = metrics.totals()
    assert total.auc is None
    assert total.normalized_entropy is None
    assert total.calibration is None
    assert total.log_loss == pytest.approx(-math.log(0.8), abs=1e-7)


def one(metrics: ProgressiveMetrics, second: float) -> list[tuple[int, int]]:
    half = np.full(1, 0.5, np.float32)
    closed = metrics.update(half, np.ones(1, np.float32), np.array([int(second * SECOND)]))
    return [(w.begin_us // SECOND, w.metrics.examples) for w in closed]


def test_windows_close_as_the_event_clock_passes_them_and_count_the_late() -> None:
    metrics = ProgressiveMetrics(MetricsSpec(window_s=10, lateness_s=5))
    assert one(metrics, 1) == []
    assert one(metrics, 12) == []
    assert one(metrics, 3) == []  # within lateness
    assert one(metrics, 15) == [(0, 2)]
    assert one(metrics, 9) == []
    assert metrics.late == 1
    assert metrics.totals().examples == 5
    assert [(w.begin_us // SECOND, w.closed) for w in metrics.windows()] == [(0, True), (10, False)]
    assert one(metrics, 1_000) == [(10, 2)]


def test_only_the_latest_windows_are_kept() -> None:
    metrics = ProgressiveMetrics(MetricsSpec(window_s=1, keep_windows=3))
    for second in range(10):
        one(metrics, second)
    assert [w.begin_us // SECOND for w in metrics.windows()] == [7, 8, 9]


def test_a_window_beyond_the_exact_limit_says_how_far_its_auc_may_be_off() -> None:
    p, y, t, _ = examples(5, 400)
    metrics = ProgressiveMetrics(MetricsSpec(window_s=1_000, exact_limit=100))
    metrics.update(p, y, t)
    found = metrics.windows()[0].metrics
    exact = exact_auc(p, y == 1)
    assert exact is not None
    assert found.auc is not None
    assert found.auc_error is not None
    assert 0 < found.auc_error < 0.01
    assert abs(found.auc - exact) <= found.auc_error


def test_frequent_values_have_their_own_metrics_and_the_rest_share_one() -> None:
    metrics = ProgressiveMetrics(MetricsSpec(group_by=("g",), group_capacity=3))
    random = np.random.default_rng(3)
    late_star = 0
    for batch in range(40):
        keys = [*(f"rare{batch}_{i}" for i in range(20)), *["big"] * 10, *["mid"] * 5]
        if batch >= 10:
            keys += ["star"] * 30
            late_star += 30
        n = len(keys)
        p = random.random(n).astype(np.float32)
        y = (random.random(n) < p).astype(np.float32)
        metrics.update(p, y, np.zeros(n, np.int64), {"g": keys})
    found = metrics.groups("g")
    assert list(found) == ["star", "big", "mid", "(other)"]
    assert found["star"].examples == late_star
    assert found["big"].examples == 400
    assert sum(s.examples for s in found.values()) == metrics.totals().examples
    assert sum(s.positives for s in found.values()) == metrics.totals().positives


def test_groups_take_arrow_columns_with_nulls_and_refuse_lists() -> None:
    metrics = ProgressiveMetrics(MetricsSpec(group_by=("g",)))
    p, y, t = np.full(3, 0.5, np.float32), np.ones(3, np.float32), np.zeros(3, np.int64)
    metrics.update(p, y, t, {"g": pa.array(["a", None, "a"])})
    metrics.update(p, y, t, {"g": pa.array([1, 2, 1]).dictionary_encode()})
    assert {k: v.examples for k, v in metrics.groups("g").items()} == {
        "1": 2, "a": 2, "(none)": 1, "2": 1,
    }  # fmt: skip
    with pytest.raises(MetricsError, match="one value an example"):
        metrics.update(p, y, t, {"g": pa.array([[1], [2], [3]])})
    with pytest.raises(MetricsError, match="no such column"):
        metrics.update(p, y, t)
    with pytest.raises(MetricsError, match="add it to group_by"):
        metrics.groups("h")
