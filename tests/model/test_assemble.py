"""Labels, event times, and batches made of both; the rows that are turned away."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from model.assemble import ExampleSpec, select
from model.errors import FeatureError
from model.event_time import EventTimeSpec, OffsetClock
from model.features import Categorical, FeatureSpec, MultiValued, Numeric
from model.features.rows import Rows
from model.labels import LabelSpec
from ps.stream import Span

HOUR_2014_10_21_00 = 1_413_849_600_000_000


def rows_of(column: Any) -> Rows:
    return Rows(pa.record_batch({"x": column}), np.empty(0, np.int64))


def labels(column: Any, rule: str | None = None) -> tuple[list[float], dict[int, str]]:
    rows = rows_of(column)
    found = LabelSpec("x", rule).extract(rows)
    assert found.dtype == np.float32
    return found.tolist(), rows.reasons


def test_plain_labels_are_zero_one_true_or_false() -> None:
    for column in (
        pa.array([1, 0]),
        pa.array([1.0, 0.0]),
        pa.array([True, False]),
        pa.array(["1", "0"]),
        pa.array(["1.0", "false"]),
        pa.array([" True ", "FALSE"]),
    ):
        assert labels(column) == ([1.0, 0.0], {})


def test_other_labels_are_rejected_with_what_was_found() -> None:
    found, reasons = labels(pa.array(["1", "2", "yes", None, "nan", ""]))
    assert found == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert sorted(reasons) == [1, 2, 3, 4, 5]
    assert reasons[1] == "label 'x' is '2', neither 0 nor 1, true nor false"
    assert sorted(labels(pa.array([0.5, float("nan"), -1.0]))[1]) == [0, 1, 2]


def test_rules_make_labels_of_numbers() -> None:
    ratings = pa.array(["3", "4", "5", "x", ""])
    assert labels(ratings, ">= 4")[0] == [0.0, 1.0, 1.0, 0.0, 0.0]
    assert sorted(labels(ratings, ">= 4")[1]) == [3, 4]
    integers = pa.array([1, 2, 3])
    for rule, expected in (
        ("> 2", [0, 0, 1]),
        ("<2", [1, 0, 0]),
        ("<= 2.0", [1, 1, 0]),
        ("==2e0", [0, 1, 0]),
        ("!= 2", [1, 0, 1]),
    ):
        assert labels(integers, rule) == (expected, {})
    with pytest.raises(FeatureError, match="is not a rule"):
        LabelSpec("x", "four or more")


def event_times(column: Any, form: str) -> tuple[list[int], list[int]]:
    rows = rows_of(column)
    return EventTimeSpec("x", form).extract(rows).tolist(), sorted(rows.reasons)


def test_units_since_the_epoch() -> None:
    for form, value in (
        ("s", 1_413_849_600),
        ("ms", 1_413_849_600_000),
        ("us", HOUR_2014_10_21_00),
    ):
        for column in (pa.array([value]), pa.array([str(value)]), pa.array([float(value)])):
            assert event_times(column, form) == ([HOUR_2014_10_21_00], [])
    assert event_times(pa.array(["1.5"]), "s") == ([1_500_000], [])
    mixed = pa.array(["1", "x", None, "-1", "", "1e30", "nan", "9999999999999999999"])
    assert event_times(mixed, "s") == ([1_000_000, 0, 0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6, 7])
    assert event_times(pa.array([1, 2**62, None, -1]), "s") == ([1_000_000, 0, 0, 0], [1, 2, 3])


def test_iso_times_are_utc_unless_they_say_otherwise() -> None:
    same = ["2014-10-21", "2014-10-21 00:00", "2014-10-21T00:00:00Z", "2014-10-21T02:00:00+02:00"]
    more = ["2014-10-21T00:00:00.000000", "2014-10-20T19:00:00-0500", "20141021T000000"]
    expected = [HOUR_2014_10_21_00] * 7
    assert event_times(pa.array(same + more), "iso") == (expected, [])
    fine = pa.array(["1970-01-01T00:00:01.123456789Z", "soon", None, "1969-01-01"])
    assert event_times(fine, "iso") == ([1_123_456, 0, 0, 0], [1, 2, 3])


def test_patterns_read_text_and_integers() -> None:
    for column in (pa.array([14102100]), pa.array(["14102100"])):
        assert event_times(column, "%y%m%d%H") == ([HOUR_2014_10_21_00], [])
    assert event_times(pa.array(["14102100", "141021001", "x", None]), "%y%m%d%H")[1] == [1, 2, 3]
    zoned = pa.array(["21/10/2014 02 +0200"])
    assert event_times(zoned, "%d/%m/%Y %H %z") == ([HOUR_2014_10_21_00], [])


def test_arrow_times_need_no_format() -> None:
    for kind in (pa.timestamp("s"), pa.timestamp("ns", "Europe/Paris"), pa.date32()):
        column: Any = pa.array([HOUR_2014_10_21_00, None], pa.timestamp("us")).cast(kind)
        assert event_times(column, "s") == ([HOUR_2014_10_21_00, 0], [1])


def test_formats_and_columns_that_cannot_work_are_refused() -> None:
    with pytest.raises(FeatureError, match="use s, ms, us, iso"):
        EventTimeSpec("x", "minutes")
    with pytest.raises(FeatureError, match="not text of iso"):
        event_times(pa.array([1.5]), "iso")
    with pytest.raises(FeatureError, match="does not hold numbers"):
        event_times(pa.array([[1]]), "s")


SPEC = ExampleSpec(
    FeatureSpec(
        (Categorical("u", "u", 1), MultiValued("g", "g", 2, separator="|"), Numeric("n", "n"))
    ),
    LabelSpec("y"),
    EventTimeSpec("t"),
)


def test_bad_rows_are_left_out_and_reported() -> None:
    columns = pa.record_batch(
        {
            "u": ["a", "b", "c", "d", "e"],
            "g": ["x", "x|y", "", "y|z|x", "z"],
            "n": ["1", "?", "3", "4", "5"],
            "y": ["0", "1", "1", "1", "maybe"],
            "t": ["1", "2", "3", "4", "x"],
        }
    )
    offsets = np.array([10, 12, 13, 14, 19], np.int64)
    assembled = SPEC.assemble(columns, offsets, Span("p", 10, 20), ingest_us=5)
    assert [(b.row, b.reason.split(" is ")[0]) for b in assembled.bad_rows] == [
        (1, "feature 'n': 'n'"),
        (4, "event time 't'"),
    ]
    batch = assembled.batch
    assert (batch.size, batch.span, batch.ingest_us) == (3, Span("p", 10, 20), 5)
    assert batch.offsets is not None
    assert batch.offsets.tolist() == [10, 13, 14]
    assert batch.labels is not None
    assert batch.labels.tolist() == [0.0, 1.0, 1.0]
    assert batch.event_ts_us.tolist() == [1_000_000, 3_000_000, 4_000_000]
    assert batch.dense[:, 0].tolist() == [1.0, 3.0, 4.0]
    clean = SPEC.assemble(columns.take(pa.array([0, 2, 3])), batch.offsets, Span("p", 10, 20))
    assert not clean.bad_rows
    for name, column in clean.batch.columns.items():
        found = batch.columns[name]
        assert found.fids.tolist() == column.fids.tolist()
        assert (found.offsets is None) == (column.offsets is None)
        if found.offsets is not None and column.offsets is not None:
            assert found.offsets.tolist() == column.offsets.tolist()


def test_a_batch_of_bad_rows_only_is_empty_but_keeps_its_span() -> None:
    columns = pa.record_batch({"u": ["a"], "g": [None], "n": ["x"], "y": ["1"], "t": ["1"]})
    assembled = SPEC.assemble(columns, np.zeros(1, np.int64), Span("p", 0, 1))
    assert assembled.batch.size == 0
    assert assembled.batch.span == Span("p", 0, 1)
    assert len(assembled.bad_rows) == 1


def test_streams_without_time_take_it_from_the_offset() -> None:
    spec = ExampleSpec(SPEC.features, SPEC.label, OffsetClock(start_us=7, step_us=10))
    columns = pa.record_batch({"u": ["a"], "g": [None], "n": ["1"], "y": ["1"]})
    assembled = spec.assemble(columns, np.array([3], np.int64), Span("p", 3, 4))
    assert assembled.batch.event_ts_us.tolist() == [37]
    assert spec.columns == ("u", "g", "n", "y")


def test_select_keeps_the_order_asked_for() -> None:
    columns = pa.record_batch(
        {"u": [1, 2, 3], "g": ["a|b", "", "c"], "n": [1, 2, 3], "y": [0, 1, 0], "t": [1, 2, 3]}
    )
    batch = SPEC.assemble(columns, np.arange(3, dtype=np.int64), Span("p", 0, 3)).batch
    picked = select(batch, np.array([2, 0], np.int64))
    assert picked.dense[:, 0].tolist() == [3.0, 1.0]
    assert picked.columns["g"].offsets is not None
    assert picked.columns["g"].offsets.tolist() == [0, 1, 3]
    everything = batch.columns["g"].fids.tolist()
    assert picked.columns["g"].fids.tolist() == [everything[2], everything[0], everything[1]]
