"""AUC against its definition, pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.metrics.auc import binned_auc, exact_auc

Scored = list[tuple[int, bool]]
scored = st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=60)


def mann_whitney(examples: Scored) -> float | None:
    clicks = [score for score, label in examples if label]
    others = [score for score, label in examples if not label]
    if not clicks or not others:
        return None
    won = sum((c > o) + 0.5 * (c == o) for c in clicks for o in others)
    return won / (len(clicks) * len(others))


@given(scored)
def test_exact_auc_is_the_share_of_pairs_in_order(examples: Scored) -> None:
    scores = np.array([score for score, _ in examples], np.float64)
    labels = np.array([label for _, label in examples], np.bool_)
    assert exact_auc(scores, labels) == pytest.approx(mann_whitney(examples), abs=1e-12)


@given(scored, st.integers(1, 13))
def test_binned_auc_is_within_its_bound_of_the_exact_one(examples: Scored, width: int) -> None:
    bins = np.array([score // width for score, _ in examples], np.int64)
    labels = np.array([label for _, label in examples], np.bool_)
    auc, error = binned_auc(
        np.bincount(bins[~labels], minlength=13), np.bincount(bins[labels], minlength=13)
    )
    exact = mann_whitney(examples)
    if exact is None:
        assert auc is None
        assert error is None
    else:
        assert auc is not None
        assert error is not None
        assert abs(auc - exact) <= error + 1e-12


def test_all_scores_equal_is_one_half() -> None:
    assert exact_auc(np.zeros(10), np.arange(10) < 3) == 0.5


def test_counts_beyond_the_range_of_int64_products_are_right() -> None:
    negatives = np.array([4 << 32, 0], np.int64)
    positives = np.array([0, 4 << 32], np.int64)
    assert binned_auc(negatives, positives) == (1.0, 0.0)
