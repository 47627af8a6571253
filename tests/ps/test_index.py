"""The index: every key is found, however the keys were chosen and however it grew."""

from __future__ import annotations

import numpy as np
import pytest

from ps.buckets import bucket_of
from ps.kernels import index
from ps.optimizers import Sgd
from ps.table import Table, TableSpec
from tests.ps.fids import (
    fids_of,
    gradients,
    mix64,
    same_bucket,
    same_line_and_tag,
    same_lines,
    unmix64,
)


def make(capacity_rows: int = 60_000) -> Table:
    return Table(TableSpec("t", 1, Sgd(learning_rate=1.0), capacity_rows=capacity_rows))


def counter(table: Table, which: int) -> int:
    return int(table._rows.arrays.counters[which])


def check_whole(table: Table, fids: np.ndarray, absent: np.ndarray) -> None:
    """All of fids are there, once; none of absent is."""
    assert len(table) == len(fids)
    assert table.contains(fids).all()
    assert not table.contains(absent).any()
    assert table.pull(fids).tolist() == [[1.0]] * len(fids)
    everything = table.export()
    assert sorted(everything.fids.tolist()) == sorted(fids.tolist())


def test_the_hash_in_these_tests_is_the_kernels() -> None:
    rng = np.random.default_rng(1)
    fids = rng.integers(0, 1 << 64, 1_000, dtype=np.uint64)
    assert [mix64(fid) >> 54 for fid in fids.tolist()] == bucket_of(fids).tolist()
    assert [unmix64(mix64(fid)) for fid in fids.tolist()] == fids.tolist()
    assert set(bucket_of(fids_of(same_bucket(50, 77))).tolist()) == {77}


@pytest.mark.parametrize("batch", [1, 31, 32, 33, 129, 5_000])
def test_keys_are_found_through_every_split(batch: int) -> None:
    """From sixteen lines on, one split at a time; lookups of any number of groups."""
    table = make()
    fids = fids_of(range(batch * max(1, 2_000 // batch)))
    for begin in range(0, len(fids), batch):
        table.push(gradients(fids[begin : begin + batch]), now_s=0)
        assert table.contains(fids[: begin + batch]).all()
    check_whole(table, fids, fids + np.uint64(1 << 40))
    assert counter(table, index.N_LINES) > index.FIRST_LINES


def test_half_a_million_keys_fill_their_lines_well() -> None:
    table = make(600_000)
    rng = np.random.default_rng(3)
    fids = np.unique(rng.integers(0, 1 << 64, 500_000, dtype=np.uint64))
    for begin in range(0, len(fids), 50_000):
        table.push(gradients(fids[begin : begin + 50_000]), now_s=0)
    check_whole(table, fids, np.setdiff1d(rng.integers(0, 1 << 64, 1_000, np.uint64), fids))
    assert len(fids) / (counter(table, index.N_LINES) * index.PLACES) > 0.85
    assert counter(table, index.STASHED) == 0


ADVERSARIES = {
    "one line and one tag at every size": same_line_and_tag(400),
    "both lines of a small index": same_lines(60, 6),
    "both lines beyond what a small table may grow to": same_lines(60, 14),
    "one bucket": same_bucket(500, 3),
    "zero tag": [unmix64(high << 48 | low) for high in range(3) for low in range(40)],
}


@pytest.mark.parametrize("name", ADVERSARIES)
def test_keys_made_to_collide_are_all_found_and_all_leave(name: str) -> None:
    """The first of these once ran the index past its memory."""
    table = make(1_000)
    chosen = fids_of(ADVERSARIES[name])
    others = fids_of(range(500_000, 500_300))
    for part in np.array_split(chosen, 7):
        table.push(gradients(part), now_s=0)
    table.push(gradients(others), now_s=0)
    check_whole(table, np.concatenate([chosen, others]), chosen + np.uint64(1))
    assert table.remove(chosen[::2]) == len(chosen[::2])
    assert not table.contains(chosen[::2]).any()
    check_whole(table, np.concatenate([chosen[1::2], others]), chosen[::2])
    table.push(gradients(chosen[::2]), now_s=0)
    check_whole(table, np.concatenate([chosen, others]), chosen + np.uint64(1))
    assert table.remove(chosen) == len(chosen)
    assert counter(table, index.STASHED) == 0
    check_whole(table, others, chosen)


def test_forced_splits_stay_within_what_was_reserved() -> None:
    capacity_rows = 1_000
    table = make(capacity_rows)
    table.push(gradients(fids_of(same_line_and_tag(capacity_rows))), now_s=0)
    _, stash_at = index.index_bytes(capacity_rows)
    assert counter(table, index.N_LINES) * index.ROWS_PER_LINE <= stash_at
    assert table._rows.arrays.rows.size >= stash_at + capacity_rows
