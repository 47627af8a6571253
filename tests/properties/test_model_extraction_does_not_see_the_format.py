"""Laws of extraction: text and typed columns, alone and in company, shared and repeated agree."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from model.features import (
    Bucketised,
    Categorical,
    Cross,
    DayOfWeek,
    Extracted,
    FeatureSpec,
    HourOfDay,
    MultiValued,
    Numeric,
)

if TYPE_CHECKING:
    from model.batch import FidColumn

SPEC = FeatureSpec(
    (
        Cross("user x tags", ("user", "tags"), 9, "mean"),
        Categorical("user", "user", 1),
        MultiValued("tags", "tags", 2, separator="|", pooling="mean"),
        Numeric("price", "price", transform="signed_log1p", missing=0.0),
        Bucketised("price bucket", "price", 3, buckets="criteo"),
        Bucketised("price log", "price", 4, buckets="log2"),
        Bucketised("price edges", "price", 5, boundaries=(0.0, 1.5, 100.0)),
        HourOfDay("hour", 6),
        DayOfWeek("day", 7, utc_offset_hours=5.5),
        Cross("user x hour", ("user", "hour"), 8),
    )
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "user": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(0, 3)),
            "tags": st.one_of(st.none(), st.lists(st.sampled_from(["a", "b", "7", "é"]))),
            "price": st.one_of(
                st.none(),
                st.floats(allow_nan=False, allow_infinity=False, width=32),
                st.integers(-10, 10).map(float),
            ),
            "ts": st.integers(0, 2**52),
        }
    ),
    min_size=1,
    max_size=20,
)


def typed(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    schema: Any = pa.schema(
        [("user", pa.int64()), ("tags", pa.list_(pa.string())), ("price", pa.float64())]
    )
    return pa.RecordBatch.from_pylist([{k: r[k] for k in schema.names} for r in rows], schema)


def text(rows: list[dict[str, Any]], empty: str | None) -> pa.RecordBatch:
    """As a CSV file would hold them, nulls as empty fields."""
    columns: dict[str, Any] = {
        "user": pa.array([_print(r["user"], empty) for r in rows], pa.string()),
        "tags": pa.array(
            [empty if r["tags"] is None else "|".join(r["tags"]) for r in rows], pa.string()
        ),
        "price": pa.array([_print(r["price"], empty) for r in rows], pa.string()),
    }
    return pa.record_batch(columns)


def _print(value: float | None, empty: str | None) -> str | None:
    return empty if value is None else json.dumps(value)


def times(rows: list[dict[str, Any]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array([r["ts"] for r in rows], np.int64)


def assert_same(a: Extracted, b: Extracted) -> None:
    assert a.size == b.size
    assert a.reasons.keys() == b.reasons.keys()
    assert list(a.columns) == list(b.columns)
    for name in a.columns:
        assert values(a.columns[name]) == values(b.columns[name]), name
    assert a.dense.tobytes() == b.dense.tobytes()


def values(column: FidColumn) -> list[list[int]]:
    if column.offsets is None:
        return [[fid] for fid in column.fids.tolist()]
    return [
        column.fids[b:e].tolist() for b, e in zip(column.offsets, column.offsets[1:], strict=False)
    ]


@given(ROWS)
def test_text_and_typed_columns_give_the_same_fids_and_floats(rows: list[dict[str, Any]]) -> None:
    expected = SPEC.extract(typed(rows), times(rows))
    assert not expected.reasons
    assert_same(SPEC.extract(text(rows, ""), times(rows)), expected)
    assert_same(SPEC.extract(text(rows, None), times(rows)), expected)


@given(ROWS, st.data())
def test_a_slice_extracts_as_those_rows_of_the_whole(
    rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    begin = data.draw(st.integers(0, len(rows)))
    for batch in (typed(rows), text(rows, "")):
        whole = SPEC.extract(batch, times(rows))
        part = SPEC.extract(batch.slice(begin), times(rows)[begin:])
        for name in whole.columns:
            assert values(part.columns[name]) == values(whole.columns[name])[begin:]
        assert part.dense.tobytes() == whole.dense[begin:].tobytes()


@given(ROWS)
def test_shared_columns_extract_as_if_repeated_in_every_row(rows: list[dict[str, Any]]) -> None:
    now = np.full(len(rows), 1_700_000_000_000_000, np.int64)
    everywhere = [{**row, "user": rows[0]["user"], "tags": rows[0]["tags"]} for row in rows]
    expected = SPEC.extract(typed(everywhere), now)
    shared = typed(rows[:1]).select(["user", "tags"])
    assert_same(SPEC.extract(typed(rows).select(["price"]), now, shared), expected)


@given(st.lists(st.one_of(st.none(), st.text(max_size=6), st.sampled_from(["1", "nan", "1e400"]))))
def test_no_text_in_a_number_column_raises_or_passes_unseen(texts: list[str | None]) -> None:
    spec = FeatureSpec((Numeric("x", "x", missing=-1.0), Bucketised("b", "x", 1, buckets="log2")))
    batch = pa.record_batch({"x": pa.array(texts, pa.string())})
    extracted = spec.extract(batch, np.zeros(len(texts), np.int64))
    assert np.isfinite(extracted.dense).all()
    for row, raw in enumerate(texts):
        if (raw or "").strip() == "":
            assert row not in extracted.reasons
            assert extracted.dense[row, 0] == -1.0
        elif row not in extracted.reasons:
            assert extracted.dense[row, 0] == np.float32(float(raw or ""))
