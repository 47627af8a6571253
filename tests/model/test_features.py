"""Feature kinds: what they make of good values, what they say of bad ones, what they refuse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from model.errors import FeatureError
from model.features import (
    Bucketised,
    Categorical,
    Cross,
    DayOfWeek,
    Extracted,
    Feature,
    FeatureSpec,
    HourOfDay,
    MultiValued,
    Numeric,
)
from model.fids import fid


def extract(feature: Feature, column: Any, ts_us: int = 0) -> Extracted:
    batch = pa.record_batch({"x": column})
    return FeatureSpec((feature,)).extract(batch, np.full(len(batch), ts_us, np.int64))


def fids(feature: Feature, column: Any, ts_us: int = 0) -> list[int]:
    extracted = extract(feature, column, ts_us)
    assert not extracted.reasons
    found: list[int] = extracted.columns[feature.name].fids.tolist()
    return found


def test_numeric_transforms_and_standardises() -> None:
    column = pa.array([0, 3, None])
    plain = extract(Numeric("n", "x", mean=1.0, scale=2.0, missing=1.0), column)
    assert plain.dense[:, 0].tolist() == [-0.5, 1.0, 0.0]
    logged = extract(Numeric("n", "x", "log1p", missing=0.0), column)
    np.testing.assert_allclose(logged.dense[:, 0], [0, math.log(4), 0], rtol=1e-6)
    signed = extract(Numeric("n", "x", "signed_log1p"), pa.array([-3.0]))
    np.testing.assert_allclose(signed.dense[:, 0], [-math.log(4)], rtol=1e-6)
    root = extract(Numeric("n", "x", "sqrt"), pa.array(["9"]))
    assert root.dense[:, 0].tolist() == [3.0]


def test_numeric_says_what_is_wrong_with_a_row() -> None:
    column = pa.array(["1", "abc", "nan", "-inf", "", " 2 ", "-1", "1e300"])
    extracted = extract(Numeric("n", "x", "log1p"), column)
    assert extracted.bad.tolist() == [False, True, True, True, True, False, True, False]
    assert extracted.reasons == {
        1: "feature 'n': 'x' is 'abc', not a number",
        2: "feature 'n': 'x' is 'nan', not a finite number",
        3: "feature 'n': 'x' is '-inf', not a finite number",
        4: "feature 'n': 'x' is missing and has no default",
        6: "feature 'n': 'x' is '-1', which the transform cannot take",
    }
    assert not extracted.dense[extracted.bad].any()
    too_large = extract(Numeric("n", "x"), pa.array([1e300, 1.0]))
    assert list(too_large.reasons) == [0]


def test_a_typed_nan_is_bad_and_a_null_is_missing() -> None:
    extracted = extract(Numeric("n", "x", missing=5.0), pa.array([math.nan, None, 1.0]))
    assert extracted.reasons == {0: "feature 'n': 'x' is nan, not a finite number"}
    assert extracted.dense[1:, 0].tolist() == [5.0, 1.0]


def test_buckets_by_boundaries_hold_their_lower_edge() -> None:
    feature = Bucketised("b", "x", 3, boundaries=(0.0, 10.0))
    column = pa.array([-1.0, 0.0, 9.9, 10.0, None])
    assert fids(feature, column) == [fid(3, i) for i in (0, 1, 1, 2, None)]


def test_criteo_buckets_keep_small_numbers_apart_from_logarithms() -> None:
    feature = Bucketised("b", "x", 3, buckets="criteo")
    values = [-2, 0, 1, 2, 3, 100]
    expected = [-2, 0, 1, 2, 4, int(math.log(100) ** 2) + 3]
    assert fids(feature, pa.array(values)) == [fid(3, i) for i in expected]


def test_log2_buckets_keep_the_sign() -> None:
    feature = Bucketised("b", "x", 3, buckets="log2")
    values = [0, 1, 2, 3, 7, -3, 1e18]
    assert fids(feature, pa.array(values)) == [fid(3, i) for i in (0, 1, 1, 2, 3, -2, 59)]


def test_a_bucketised_feature_rejects_what_is_no_number() -> None:
    feature = Bucketised("b", "x", 3, buckets="log2")
    extracted = extract(feature, pa.array(["x", "inf", "", "4"]))
    assert sorted(extracted.reasons) == [0, 1]
    assert extracted.columns["b"].fids[2:].tolist() == [fid(3, None), fid(3, 2)]


def test_multi_valued_drops_empties_and_keeps_repeats() -> None:
    split = MultiValued("m", "x", 2, separator="|")
    from_text = extract(split, pa.array(["a|b", "", None, "|b||b"])).columns["m"]
    lists = pa.array([["a", "b"], [], None, [None, "b", "", "b"]])
    from_lists = extract(split, lists).columns["m"]
    fixed = extract(split, pa.array([["a", "b"], None], pa.list_(pa.string(), 2))).columns["m"]
    expected = [fid(2, t) for t in ("a", "b", "b", "b")]
    for column in (from_text, from_lists):
        assert column.fids.tolist() == expected
        assert column.offsets is not None
        assert column.offsets.tolist() == [0, 2, 2, 2, 4]
    assert fixed.offsets is not None
    assert fixed.offsets.tolist() == [0, 2, 2]
    integers = extract(split, pa.array([[1, None], [2]])).columns["m"]
    assert integers.fids.tolist() == [fid(2, 1), fid(2, 2)]
    nothing = extract(split, pa.nulls(3)).columns["m"]
    assert nothing.offsets is not None
    assert nothing.offsets.tolist() == [0, 0, 0, 0]


def test_time_features_know_monday_and_the_offset() -> None:
    monday_23h = 1_704_150_000_000_000  # 2024-01-01 23:00 UTC
    assert fids(HourOfDay("h", 1), pa.array([1]), monday_23h) == [fid(1, 23)]
    assert fids(DayOfWeek("d", 1), pa.array([1]), monday_23h) == [fid(1, 0)]
    assert fids(HourOfDay("h", 1, 2.0), pa.array([1]), monday_23h) == [fid(1, 1)]
    assert fids(DayOfWeek("d", 1, 2.0), pa.array([1]), monday_23h) == [fid(1, 1)]


def test_crosses_depend_on_the_order_and_on_every_member() -> None:
    a, b = Categorical("a", "a", 1), Categorical("b", "b", 2)
    spec = FeatureSpec((a, b, Cross("ab", ("a", "b"), 3), Cross("ba", ("b", "a"), 3)))
    batch = pa.record_batch({"a": [1, 1, 2, 1], "b": [1, 2, 1, 1]})
    columns = spec.extract(batch, np.zeros(4, np.int64)).columns
    ab, ba = columns["ab"].fids.tolist(), columns["ba"].fids.tolist()
    assert len(set(ab)) == 3
    assert ab[0] == ab[3]
    assert not set(ab) & set(ba)
    assert {f >> 48 for f in ab} == {3}


def test_a_cross_has_an_id_for_each_value_of_a_multi_valued_member() -> None:
    spec = FeatureSpec(
        (
            Categorical("u", "u", 1),
            MultiValued("g", "g", 2, separator="|"),
            Cross("ug", ("g", "u"), 3, pooling="mean"),
        )
    )
    batch = pa.record_batch({"u": [1, 2, 3], "g": ["a|b", "", "a"]})
    column = spec.extract(batch, np.zeros(3, np.int64)).columns["ug"]
    assert column.offsets is not None
    assert column.offsets.tolist() == [0, 2, 2, 3]
    assert len(set(column.fids.tolist())) == 3
    assert [f.pooling for f in spec.layout.fields] == [None, "sum", "mean"]


def test_missing_and_wrong_columns_are_named() -> None:
    with pytest.raises(FeatureError, match=r"feature 'c': column 'y' is missing; there are x"):
        extract(Categorical("c", "y", 1), pa.array([1]))
    with pytest.raises(FeatureError, match=r"a column of double cannot name things"):
        extract(Categorical("c", "x", 1), pa.array([1.0]))
    with pytest.raises(FeatureError, match=r"does not hold numbers"):
        extract(Numeric("n", "x"), pa.array([[1]]))
    with pytest.raises(FeatureError, match=r"at which separator"):
        extract(MultiValued("m", "x", 1), pa.array(["a|b"]))
    with pytest.raises(FeatureError, match=r"neither lists nor text"):
        extract(MultiValued("m", "x", 1), pa.array([1]))
    with pytest.raises(FeatureError, match=r"a column of double cannot name things"):
        extract(MultiValued("m", "x", 1), pa.array([[1.5]]))


def test_specifications_that_cannot_work_are_refused() -> None:
    a = Categorical("a", "x", 1)
    refused: list[tuple[str, Any]] = [
        ("two features", lambda: FeatureSpec((a, Categorical("a", "y", 2)))),
        ("lives in one table", lambda: FeatureSpec((a, Categorical("b", "y", 1, "other")))),
        ("no such feature", lambda: FeatureSpec((a, Cross("c", ("a", "b"), 3)))),
        (
            "which is numeric",
            lambda: FeatureSpec((a, Numeric("n", "n"), Cross("c", ("a", "n"), 3))),
        ),
        ("at least one feature", lambda: FeatureSpec(())),
        ("two or more", lambda: Cross("c", ("a", "a"), 3)),
        ("outside 0..65535", lambda: Categorical("a", "x", 65536)),
        ("no transform 'log'", lambda: Numeric("n", "x", "log")),  # type: ignore[arg-type]
        ("scale 0.0", lambda: Numeric("n", "x", scale=0.0)),
        ("no finite log1p", lambda: Numeric("n", "x", "log1p", missing=-1.0)),
        ("either boundaries or buckets", lambda: Bucketised("b", "x", 1)),
        ("strictly increasing", lambda: Bucketised("b", "x", 1, boundaries=(1.0, 1.0))),
        ("separator is empty", lambda: MultiValued("m", "x", 1, separator="")),
        ("between -24 and 24", lambda: HourOfDay("h", 1, 30.0)),
    ]
    for message, make in refused:
        with pytest.raises(FeatureError, match=message):
            make()


def test_the_fingerprint_changes_with_any_setting_and_only_then() -> None:
    def spec(slot: int = 1, scale: float = 1.0) -> FeatureSpec:
        return FeatureSpec((Categorical("a", "x", slot), Numeric("n", "y", scale=scale)))

    assert spec().fingerprint() == spec().fingerprint()
    assert len({spec().fingerprint(), spec(2).fingerprint(), spec(1, 2.0).fingerprint()}) == 3


def test_a_specification_lists_what_it_needs() -> None:
    spec = FeatureSpec(
        (
            Categorical("a", "x", 1, "small"),
            Numeric("n", "y"),
            Bucketised("b", "y", 2, buckets="log2"),
            HourOfDay("h", 3, table="small"),
        )
    )
    assert spec.columns == ("x", "y")
    assert spec.tables == {"small": ("a", "h"), "embedding": ("b",)}
    assert spec.slots == {1: "small", 2: "embedding", 3: "small"}
    assert (spec.dense_width, spec.dense_names) == (1, ("n",))
