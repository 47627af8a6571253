"""Looking at restore points where nothing runs: what differs, one fid, one slot."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.admission import AdmissionFilter, AdmitAfter
from ps.block import Cursor
from ps.errors import UnknownTableError
from ps.kernels.sketch import sketch_add
from ps.store.admission_count import occurrences
from ps.store.block_file import write_block
from ps.store.commit import ShardChain
from ps.store.compactor import compact
from ps.store.description import describe
from ps.store.diff import DenseDiff, TableDiff, diff_points
from ps.store.inspect import inspect_fid, inspect_slot
from ps.store.reshard import reshard_bases
from tests.ps.store.blocks_by_hand import make_block, table_delta
from tests.ps.store.folder import folder
from tests.ps.store.models import Job, dense_of, held, rebased, specs

if TYPE_CHECKING:
    from ps.arrays import F32
    from ps.store.commit import Commit
    from ps.store.location import Location

FIRST = 1 << 48


def committed(job: Job) -> Commit:
    return replace(job.commit(), description=describe(specs(len(job.shards))))


def with_bases(location: Location, commit: Commit) -> Commit:
    for chain in commit.shards:
        compact(location, chain, memory_bytes=1 << 30)
    chains = tuple(ShardChain(c.shard, c.cursor, (), c.positions) for c in commit.shards)
    return replace(commit, shards=chains)


@given(
    steps=st.integers(1, 12),
    more=st.integers(0, 12),
    memory_bytes=st.sampled_from([1000, 50_000, 1 << 30]),
    reshard=st.booleans(),
)
@settings(max_examples=15, deadline=None)
def test_a_difference_is_what_two_dicts_differ_in(
    steps: int, more: int, memory_bytes: int, reshard: bool
) -> None:
    _, location = folder()
    job = Job(location, 2)
    # Without a time to live, so that what is stored is what there is.
    job.learn(steps)
    for shard in job.shards:
        shard.expire(now_s=job.step, budget_rows=10_000)
    job.seal()
    rows_before, dense_before, before = held(job.shards), dense_of(job.shards), committed(job)
    job.learn(more)
    for shard in job.shards:
        shard.expire(now_s=job.step, budget_rows=10_000)
    job.seal()
    rows_after, dense_after, after = held(job.shards), dense_of(job.shards), committed(job)
    if reshard:
        made, _ = reshard_bases(location, after, 3, Cursor(99, 9), memory_bytes=1 << 30)
        after = rebased(after, made)
    seen: list[tuple[int, int]] = []
    found = diff_points(
        location,
        before,
        after,
        memory_bytes=memory_bytes,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (1024, 1024)
    assert {table.table for table in found.tables} == set(rows_after)
    for table in found.tables:
        old, new = rows_before[table.table], rows_after[table.table]
        both = old.keys() & new.keys()
        assert (table.rows_before, table.rows_after) == (len(old), len(new))
        assert (table.added, table.removed) == (len(new) - len(both), len(old) - len(both))
        assert table.changed == sum(old[fid] != new[fid] for fid in both)
        moved = {
            fid: float(np.abs(weights(old[fid][1]).astype(np.float64) - weights(new[fid][1])).max())
            for fid in both
        }
        assert table.largest_change == max(moved.values(), default=0.0)
        if table.largest_fid is not None:
            assert moved[table.largest_fid] == table.largest_change
    assert {d.variable: d.how for d in found.dense} == {
        name: "same" if dense_before[name] == dense_after[name] else "changed"
        for name in dense_after
    }
    assert (found.before_epoch, found.after_epoch) == (before.at.epoch, after.at.epoch)
    expected = {"p": (steps, steps + more)} if more else {}
    assert found.positions == expected


def weights(raw: bytes) -> F32:
    return np.frombuffer(raw, dtype=np.float32)


def test_a_point_does_not_differ_from_itself_compacted() -> None:
    _, location = folder()
    job = Job(location, 3)
    job.learn(9)
    job.seal()
    before = committed(job)
    found = diff_points(location, before, with_bases(location, before))
    assert all(t.added == t.removed == t.changed == t.largest_change == 0 for t in found.tables)
    assert {d.how for d in found.dense} == {"same"}
    assert not found.positions


def test_numbers_that_are_none_and_shapes_that_differ_have_a_difference() -> None:
    _, location = folder()
    rng = np.random.default_rng(1)
    job = Job(location, 1)
    commits = []
    for epoch, width in ((1, 3), (2, 3), (3, 4)):
        rows = table_delta(rng, (width, 0), range(4))
        rows.weights[:2] = np.nan
        rows.last_seen_s[:] = 0
        if epoch == 2:
            rows.weights[1] = 1.0
        block = make_block(epoch, {"t": rows}, shard=0, after=Cursor(0, 0))
        write_block(location, block)
        chain = ShardChain(0, None, (block.cursor,), {})
        commits.append(replace(job.commit(), shards=(chain,)))
    one, two, three = commits
    same = diff_points(location, one, one)
    assert same.tables == (TableDiff("t", 4, 4, 0, 0, 0, 0.0, None),)
    found = diff_points(location, one, two)
    assert found.tables == (TableDiff("t", 4, 4, 0, 0, 3, float("inf"), 1),)
    found = diff_points(location, two, three)
    assert found.tables == (TableDiff("t", 4, 4, 0, 0, 4, None, None),)
    assert found.dense == (DenseDiff("d0", "removed", None), DenseDiff("d1", "added", None))


@pytest.mark.parametrize("with_base", [False, True])
def test_an_inspected_fid_is_what_the_shard_says(with_base: bool) -> None:
    _, location = folder()
    job = Job(location, 2)
    job.learn(12)
    job.seal()
    commit = committed(job)
    if with_base:
        commit = with_bases(location, commit)
    there = held(job.shards)["factors"]
    missing = [f for f in (*range(20), *range(FIRST, FIRST + 60)) if f not in there]
    assert any(fid < FIRST for fid in missing)
    for fid in (*list(there)[:30], *missing):
        (found,) = inspect_fid(location, commit, fid)
        table = job.shards[found.shard].table("factors")
        row = table.inspect(fid)
        assert (found.table, found.fid, found.slot) == ("factors", fid, fid >> 48)
        assert found.present == (row is not None)
        if row is not None:
            assert found.last_seen_s == row.last_seen_s
            assert found.expires_s == (None if fid >> 48 else row.last_seen_s + 6)
            assert found.weights == row.weights.tolist()
            assert found.state == row.state.tolist()
        else:
            assert (found.last_seen_s, found.expires_s, found.state) == (None, None, [])
            # Slot 1 has admission and reads as zeros; slot 0 would be drawn.
            assert found.weights == ([0.0] * 9 if fid >> 48 else [])
        assert (found.occurrences is None) == (fid >> 48 == 0)
    counts = [inspect_fid(location, commit, fid)[0].occurrences for fid in missing if fid >> 48]
    assert set(counts) <= {0, 1, 2}
    assert {1, 2} & set(counts)


def test_a_fid_is_looked_for_where_it_was_asked_for() -> None:
    _, location = folder()
    job = Job(location, 1)
    job.learn(5)
    job.seal()
    commit = committed(job)
    assert inspect_fid(location, commit, 7 << 48) == []
    (found,) = inspect_fid(location, commit, 7 << 48 | 1, "linear")
    assert (found.present, found.slot, found.weights) == (False, 7, [0.0])
    with pytest.raises(UnknownTableError):
        inspect_fid(location, commit, 1, "nothing")
    nothing = replace(commit, shards=(ShardChain(0, None, ()),))
    (found,) = inspect_fid(location, nothing, 5, "linear")
    assert not found.present


@pytest.mark.parametrize("memory_bytes", [2000, 1 << 30])
def test_an_inspected_slot_counts_and_shows_the_latest(memory_bytes: int) -> None:
    _, location = folder()
    job = Job(location, 2)
    job.learn(15)
    job.seal()
    commit = with_bases(location, committed(job))
    rows = held(job.shards)["factors"]
    for slot in (0, 1):
        own = {fid: row[0] for fid, row in rows.items() if fid >> 48 == slot}
        (found,) = inspect_slot(location, commit, slot, rows=7, memory_bytes=memory_bytes)
        assert (found.table, found.slot, found.rows) == ("factors", slot, len(own))
        assert found.oldest_seen_s == min(own.values())
        assert found.newest_seen_s == max(own.values())
        expected = sorted(own, key=lambda fid: (-own[fid], fid))[:7]
        assert [row.fid for row in found.examples] == expected
        assert all(row.present and len(row.weights) == 9 for row in found.examples)
        assert found.settings
    assert inspect_slot(location, commit, 9) == []
    (found,) = inspect_slot(location, commit, 9, "factors")
    assert (found.rows, found.oldest_seen_s, found.examples) == (0, None, [])


@pytest.mark.parametrize("after", [3, 1000])
def test_occurrences_are_what_the_kernel_counts(after: int) -> None:
    rng = np.random.default_rng(after)
    counting = AdmissionFilter({0: AdmitAfter(after)}, remembered_fids=64, window_s=20)
    fids = rng.integers(0, 1 << 48, 60, dtype=np.uint64)
    for now_s in range(1, 40):
        counting.advance(now_s)
        for fid in rng.choice(fids, 10):
            sketch_add(fid, int(rng.integers(1, 4)), *counting.arrays[2:])
        state = counting.export()
        assert state is not None
        for fid in fids:
            copy = AdmissionFilter({0: AdmitAfter(after)}, remembered_fids=64, window_s=20)
            copy.apply(state, replace=True)
            copy.arrays[5][2] = 1 << 40  # no fid ends the period
            expected = int(sketch_add(fid, 1, *copy.arrays[2:])) - 1
            assert occurrences(state, int(fid)) == expected


def test_looking_needs_no_kernels() -> None:
    code = "import sys, ps.store.inspect, ps.store.diff; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
