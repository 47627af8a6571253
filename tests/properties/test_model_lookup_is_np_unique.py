"""Laws of lookups: the unique fids of a batch, by first occurrence, and the way back."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.batch import Batch, FidColumn
from model.lookup import LookupBuilder, build_lookups

FIDS = st.lists(st.one_of(st.integers(0, 9), st.integers(0, 2**64 - 1)), min_size=0, max_size=60)


def batch_of(columns: dict[str, list[int]]) -> Batch:
    return Batch(
        0,
        {name: FidColumn(np.array(fids, np.uint64)) for name, fids in columns.items()},
        np.empty((0, 0), np.float32),
        np.empty(0, np.int64),
    )


@given(FIDS, FIDS, FIDS)
def test_a_lookup_is_np_unique_in_order_of_first_occurrence(
    a: list[int], b: list[int], c: list[int]
) -> None:
    lookups = build_lookups({"t": ("a", "b"), "other": ("c",)}, batch_of({"a": a, "b": b, "c": c}))
    for table, names, values in (("t", ("a", "b"), a + b), ("other", ("c",), c)):
        lookup = lookups[table]
        unique, counts = np.unique(np.array(values, np.uint64), return_counts=True)
        assert dict(zip(lookup.fids.tolist(), lookup.counts.tolist(), strict=True)) == dict(
            zip(unique.tolist(), counts.tolist(), strict=True)
        )
        assert lookup.fids.tolist() == list(dict.fromkeys(values))
        assert tuple(lookup.inverse) == names
        found = np.concatenate([lookup.fids[lookup.inverse[name]] for name in names])
        assert found.tolist() == values
        assert lookup.fids.dtype == np.uint64
        assert lookup.counts.dtype == np.uint32


@given(st.lists(FIDS, min_size=1, max_size=6))
def test_a_builder_that_was_used_before_builds_the_same(batches: list[list[int]]) -> None:
    builder = LookupBuilder({"t": ("a",)})
    for values in batches:
        used = builder.build(batch_of({"a": values}))["t"]
        fresh = build_lookups({"t": ("a",)}, batch_of({"a": values}))["t"]
        assert used.fids.tolist() == fresh.fids.tolist()
        assert used.counts.tolist() == fresh.counts.tolist()
        assert used.inverse["a"].tolist() == fresh.inverse["a"].tolist()
