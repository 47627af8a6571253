"""Casting what can be cast: whatever fails, and wherever it stands, it alone becomes null."""

from __future__ import annotations

import pyarrow as pa
import pytest

from model.arrow import castable

DATE = r"^\d{4}-\d\d-\d\d"


@pytest.mark.parametrize("bad_rows", [[], [0], [16], [0, 7, 8, 16], list(range(17))])
@pytest.mark.parametrize("bad", ["2024-13-01", "soon"])
def test_only_the_values_that_fail_become_null(bad_rows: list[int], bad: str) -> None:
    texts = [bad if row in bad_rows else "2024-01-01" for row in range(17)]
    column = pa.array([*texts, None], pa.string())
    cast, failed = castable(column, pa.timestamp("us"), DATE)
    assert ([] if failed is None else failed.nonzero()[0].tolist()) == bad_rows
    assert [i for i, valid in enumerate(cast.is_valid().to_pylist()) if not valid] == [
        *bad_rows,
        17,
    ]
