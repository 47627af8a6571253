"""Rows that turn out to be unusable become rejected records in their place."""

from __future__ import annotations

import json

from tests.worker.streams import ListSource, consistent
from worker.rejection import without_rows


def test_rows_move_to_the_rejected_with_their_text() -> None:
    (chunk,) = ListSource({"p": 6}, [6], frozenset({2})).read("p", 0)
    found = without_rows(chunk, {3: "late", 0: "early"})
    consistent(found)
    assert [(r.offset, r.reason) for r in found.rejected] == [(0, "early"), (2, "bad"), (4, "late")]
    assert json.loads(found.rejected[2].record) == {"value": 4}
    assert found.columns["value"].to_pylist() == [1, 3, 5]


def test_nothing_to_reject_hands_the_chunk_back() -> None:
    (chunk,) = ListSource({"p": 3}).read("p", 0)
    assert without_rows(chunk, {}) is chunk
