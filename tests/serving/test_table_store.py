"""A replica's rows expire as the trainer's do, with nobody telling it which."""

from __future__ import annotations

import numpy as np

from ps.block import TableDelta
from ps.initializers import Initializer
from ps.optimizers import Sgd
from ps.table import SlotPolicy, TableSpec
from serving.part import Part
from serving.table_store import TableStore

SPEC = TableSpec(
    "rows", 2, Sgd(), Initializer("uniform", 0.5), (SlotPolicy(0, ttl_s=10),), capacity_rows=10_000
)


def rows(count: int, last_seen_s: int) -> TableDelta:
    return TableDelta(
        fids=np.arange(count, dtype=np.uint64),
        last_seen_s=np.full(count, last_seen_s, dtype=np.uint32),
        weights=np.full((count, 2), 7, dtype=np.float32),
        state=np.empty((count, 0), dtype=np.float32),
        removed=np.empty(0, dtype=np.uint64),
    )


def test_a_row_is_served_until_its_time_to_live_is_over() -> None:
    part = Part({"rows": lambda: TableStore(SPEC, seed=3)})
    first = part.read("rows", np.arange(4, dtype=np.uint64))[0]
    part.write("rows", rows(4, 100))
    part.advance(110_999_999)
    weights, missing = part.read("rows", np.arange(4, dtype=np.uint64))
    assert (weights == 7).all()
    assert missing == 0
    part.write("rows", rows(1, 111))
    part.advance(111_000_000)
    weights, missing = part.read("rows", np.arange(4, dtype=np.uint64))
    assert weights[0].tolist() == [7, 7]
    np.testing.assert_array_equal(weights[1:], first[1:])
    assert missing == 3


def test_rows_are_there_again_when_the_shards_are_taken_back() -> None:
    """Nothing of theirs may have been given back before they said so."""
    part = Part({"rows": lambda: TableStore(SPEC, seed=3)})
    every = np.arange(500, dtype=np.uint64)
    part.write("rows", rows(500, 100))
    for event_ts_us in (200_000_000, 300_000_000):
        part.advance(event_ts_us)
        assert part.read("rows", every)[1] == 500
    part.advance(105_000_000)
    weights, missing = part.read("rows", every)
    assert (weights == 7).all()
    assert missing == 0
