"""The synthetic click logs: reproducible, calibrated, and never standing still."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worker.streams import consistent
from worker.errors import SourceError, SourceSpecError
from worker.kernels.draws import normal, uniform, zipf_rank
from worker.metrics.auc import exact_auc
from worker.sources.synthetic import (
    ClickStreamSpec,
    SyntheticClicks,
    WideStreamSpec,
    WideSyntheticClicks,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.events import Source


def narrow(**spec: Any) -> Source:
    return SyntheticClicks(ClickStreamSpec(**spec), chunk_rows=7)


def wide(**spec: Any) -> Source:
    return WideSyntheticClicks(WideStreamSpec(n_categorical=3, n_numeric=2, **spec), chunk_rows=7)


KINDS: dict[str, Callable[..., Source]] = {"narrow": narrow, "wide": wide}


def table(source: Source, partition: str = "synthetic-0", begin: int = 0) -> pa.Table:
    chunks = list(source.read(partition, begin))
    for chunk in chunks:
        consistent(chunk)
    return pa.Table.from_batches([chunk.columns for chunk in chunks])


@pytest.mark.parametrize("kind", KINDS)
@given(begin=st.integers(0, 49), seed=st.integers(0, 2**63 - 1))
@settings(max_examples=20)
def test_a_record_depends_on_the_seed_and_its_number_alone(
    kind: str, begin: int, seed: int
) -> None:
    options: dict[str, Any] = {"records": 50, "seed": seed, "malformed_share": 0.2}
    whole = list(KINDS[kind](**options).read("synthetic-0", 0))
    tail = list(KINDS[kind](**options).read("synthetic-0", begin))
    rows = {
        int(offset): row
        for chunk in whole
        for offset, row in zip(chunk.offsets, chunk.columns.to_pylist(), strict=True)
    }
    found = {
        int(offset): row
        for chunk in tail
        for offset, row in zip(chunk.offsets, chunk.columns.to_pylist(), strict=True)
    }
    assert found == {offset: row for offset, row in rows.items() if offset >= begin}
    assert [r for c in tail for r in c.rejected] == [
        r for c in whole for r in c.rejected if r.offset >= begin
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_partitions_deal_out_one_and_the_same_stream(kind: str) -> None:
    one = table(KINDS[kind](records=50)).to_pylist()
    three = KINDS[kind](records=50, partitions=3)
    dealt = [table(three, partition).to_pylist() for partition in three.partitions()]
    assert [dealt[i % 3][i // 3] for i in range(50)] == one


def test_the_click_rate_is_the_mean_true_probability_and_the_oracle_is_good() -> None:
    source = SyntheticClicks(ClickStreamSpec(records=200_000))
    found = table(source)
    clicks = found["click"].to_numpy()
    truth = found["true_probability"].to_numpy()
    assert truth.mean() == pytest.approx(clicks.mean(), abs=0.004)  # five standard errors
    assert 0.10 < clicks.mean() < 0.20
    auc = exact_auc(truth, clicks == 1)
    assert auc is not None
    assert 0.75 < auc < 0.80
    # Calibrated in every tenth of the range, not only on the whole.
    tenths = np.digitize(truth, np.quantile(truth, np.linspace(0.1, 0.9, 9)))
    for tenth in range(10):
        mask = tenths == tenth
        assert clicks[mask].mean() == pytest.approx(truth[mask].mean(), abs=0.015)


def test_ids_come_and_go_and_their_space_grows() -> None:
    spec = ClickStreamSpec(records=120_000, records_per_s=10.0, item_life_s=3_000.0)
    items = table(SyntheticClicks(spec))["item_id"].to_numpy()
    first, last = set(items[:20_000].tolist()), set(items[-20_000:].tolist())
    assert not first & last
    assert len(set(items.tolist())) > 3 * len(first)


def test_event_time_advances_at_the_given_rate() -> None:
    times = table(SyntheticClicks(ClickStreamSpec(records=1_001, records_per_s=50.0)))[
        "event_ts_us"
    ]
    assert times[1_000].as_py() - times[0].as_py() == 20_000_000


def test_malformed_records_come_at_their_share() -> None:
    source = SyntheticClicks(ClickStreamSpec(records=10_000, malformed_share=0.05))
    n = sum(len(chunk.rejected) for chunk in source.read("synthetic-0", 0))
    assert 400 < n < 600


def test_the_columns_are_as_documented() -> None:
    found = table(SyntheticClicks(ClickStreamSpec(records=100, noise_columns=2)))
    assert found.schema.names == [
        "event_ts_us", "user_id", "item_id", "user_segment", "device", "item_category", "position",
        "item_tags", "user_interests", "user_age", "item_price", "noise_0", "noise_1", "click",
        "true_probability",
    ]  # fmt: skip
    assert all(1 <= len(tags.as_py()) <= 3 for tags in found["item_tags"])
    found = table(WideSyntheticClicks(WideStreamSpec(records=10)))
    assert found.num_columns == 42
    assert found["C26"].type == pa.int64()
    assert found["I13"].type == pa.float32()


def test_an_endless_stream_can_be_left() -> None:
    stream = SyntheticClicks(chunk_rows=10).read("synthetic-0", 10**9)
    assert next(stream).span.begin == 10**9


def test_zipf_ranks_follow_their_law() -> None:
    u = (np.arange(200_000) + 0.5) / 200_000
    for exponent in (0.8, 1.0, 1.2):
        ranks = np.array([zipf_rank(x, 1_000.0, exponent) for x in u[::20]])
        assert ranks.min() == 0
        assert 990 <= ranks.max() <= 999
        # The share of the upper half on a logarithmic scale, against the integral.
        below = float((ranks < 31).mean())
        x = np.linspace(1.0, 1_001.0, 1_000_001)
        density = x**-exponent
        assert below == pytest.approx(density[x < 32].sum() / density.sum(), abs=0.01)


def test_draws_have_the_moments_they_should() -> None:
    bits = np.random.default_rng(1).integers(0, 2**64, 20_000, np.uint64)
    z = np.array([normal(b) for b in bits])
    u = np.array([uniform(b) for b in bits])
    assert abs(z.mean()) < 0.03
    assert z.std() == pytest.approx(1.0, abs=0.03)
    assert u.min() >= 0.0
    assert u.max() < 1.0
    assert u.mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    "spec",
    [
        {"records": 0},
        {"partitions": 0},
        {"users": 1 << 24},
        {"malformed_share": 1.0},
        {"item_life_s": 0.0},
    ],
)
def test_impossible_streams_are_refused(spec: dict[str, float]) -> None:
    with pytest.raises(SourceSpecError):
        ClickStreamSpec(**spec)  # type: ignore[arg-type]


def test_positions_and_partitions_that_do_not_exist_are_errors() -> None:
    source = SyntheticClicks(ClickStreamSpec(records=10))
    with pytest.raises(SourceError, match="only 10 records"):
        list(source.read("synthetic-0", 11))
    with pytest.raises(SourceError, match="no such partition"):
        list(source.read("synthetic-1", 0))
