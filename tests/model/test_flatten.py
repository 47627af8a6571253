"""A batch as one run of fids, against a loop over examples and fields."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.batch import Batch, FidColumn
from model.features import FidField
from model.flatten import flatten

POOLINGS = [None, "sum", "mean"]


def batch_of(size: int, poolings: list[str | None], seed: int) -> tuple[Batch, list[FidField]]:
    rng = np.random.default_rng(seed)
    columns, fields = {}, []
    for number, pooling in enumerate(poolings):
        offsets = None
        total = size
        if pooling is not None:
            offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 4, size))]).astype(np.int64)
            total = int(offsets[-1])
        columns[f"f{number}"] = FidColumn(rng.integers(0, 99, total, dtype=np.uint64), offsets)
        fields.append(FidField(f"f{number}", number, "t", pooling))  # type: ignore[arg-type]
    batch = Batch(size, columns, np.empty((size, 0), np.float32), np.zeros(size, np.int64))
    return batch, fields


@given(
    size=st.integers(0, 20),
    poolings=st.lists(st.sampled_from(POOLINGS), min_size=1, max_size=5),
    seed=st.integers(0, 2**32 - 1),
)
def test_it_is_a_loop_over_examples_and_fields(
    size: int, poolings: list[str | None], seed: int
) -> None:
    batch, fields = batch_of(size, poolings, seed)
    fids, offsets, values = flatten(batch, fields)
    expected_fids: list[int] = []
    expected_values: list[float] = []
    expected_offsets = [0]
    for example in range(size):
        for field in fields:
            column = batch.columns[field.name]
            own = (
                column.fids[example : example + 1]
                if column.offsets is None
                else column.fids[column.offsets[example] : column.offsets[example + 1]]
            )
            expected_fids += own.tolist()
            mean = field.pooling == "mean"
            expected_values += [1 / max(len(own), 1) if mean else 1.0] * len(own)
        expected_offsets.append(len(expected_fids))
    assert fids.tolist() == expected_fids
    assert offsets.tolist() == expected_offsets
    assert fids.dtype == np.uint64
    assert offsets.dtype == np.int64
    assert fids.flags.c_contiguous
    assert offsets.flags.c_contiguous
    if values is None:
        assert set(poolings) == {None}
    else:
        assert values.dtype == np.float32
        assert values.tolist() == pytest.approx(expected_values)
