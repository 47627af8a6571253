"""Merging blocks: one by one or as one, a reader ends in the same place. Kernels against NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.block import Block, Cursor, TableDelta
from ps.buckets import bucket_of
from ps.errors import BlockGapError, ForeignBlockError, ShapeError, SpecError
from ps.kernels.routing import BUCKETS
from ps.store import rows
from ps.store.changes import ChangeSet
from ps.store.heads import as_base, fold, head_of
from ps.store.merge import merge_blocks
from tests.ps.fids import unmix64
from tests.ps.store.blocks_by_hand import (
    SHAPES,
    filter_delta,
    held_by,
    make_block,
    random_chain,
    table_delta,
)
from tests.ps.test_codec import assert_same

RNG = np.random.default_rng(11)


def ordered(change: TableDelta) -> TableDelta:
    return rows.pick(change, np.argsort(change.fids), np.argsort(change.removed))


@given(seed=st.integers(0, 2**32), epochs=st.integers(2, 6))
@settings(max_examples=60, deadline=None)
def test_one_merged_block_does_what_its_blocks_do(seed: int, epochs: int) -> None:
    before, *blocks = random_chain(seed, epochs + 1)
    merged = merge_blocks(blocks)
    one_by_one = held_by(block.tables for block in (before, *blocks))
    assert held_by([before.tables, merged.tables]) == one_by_one
    assert (merged.follows, merged.cursor) == (before.cursor, blocks[-1].cursor)
    assert not merged.base
    for name, change in merged.tables.items():
        assert np.unique(change.fids).size == change.fids.size, name
        assert not np.isin(change.removed, change.fids).any()
        assert not change.fids.flags.writeable


@given(seed=st.integers(0, 2**32), epochs=st.integers(2, 6), data=st.data())
@settings(max_examples=30, deadline=None)
def test_merging_in_any_groups_is_merging_at_once(
    seed: int, epochs: int, data: st.DataObject
) -> None:
    blocks = random_chain(seed, epochs)
    at = data.draw(st.integers(1, epochs - 1))
    grouped = merge_blocks([merge_blocks(blocks[:at]), merge_blocks(blocks[at:])])
    once = merge_blocks(blocks)
    for name in once.tables:
        assert_same(ordered(grouped.tables[name]), ordered(once.tables[name]))
    assert_same(head_of(grouped), head_of(once))


@given(seed=st.integers(0, 2**32), first=st.integers(0, 1023), width=st.integers(1, 1024))
@settings(max_examples=60, deadline=None)
def test_a_set_of_changes_is_what_numpy_makes_of_them(seed: int, first: int, width: int) -> None:
    chain = [b.tables["users"] for b in random_chain(seed, 5, fids=4000, most=1500)]
    changes = ChangeSet(*SHAPES["users"], first, first + width)
    for change in chain:
        changes.absorb(change)
    expected = rows.newest([rows.in_buckets(change, first, first + width) for change in chain])
    assert_same(ordered(changes.merged()), expected)
    order, starts = changes.by_bucket()
    buckets = bucket_of(changes.fids[: len(changes)])
    assert (np.diff(starts) == np.bincount(buckets, minlength=BUCKETS)).all()
    assert (np.diff(buckets[order].astype(int)) >= 0).all()


def test_a_fid_that_leaves_and_returns_is_a_row_and_one_that_leaves_last_is_gone() -> None:
    shape = SHAPES["users"]
    chain = [
        table_delta(RNG, shape, [1, 2, 3], [9]),
        table_delta(RNG, shape, [1, 4], [1, 2, 3]),
        table_delta(RNG, shape, [3], [4, 8]),
    ]
    blocks = [make_block(i + 1, {"users": change}) for i, change in enumerate(chain)]
    merged = merge_blocks(blocks).tables["users"]
    assert sorted(merged.fids.tolist()) == [1, 3]
    assert sorted(merged.removed.tolist()) == [2, 4, 8, 9]
    newest = {1: (1, 0), 3: (2, 0)}
    for i, fid in enumerate(merged.fids.tolist()):
        block, at = newest[fid]
        np.testing.assert_array_equal(merged.weights[i], chain[block].weights[at])


def test_fids_that_share_their_slot_of_the_index_are_told_apart() -> None:
    fids = [unmix64(high << 40 | 5) for high in range(3000)]
    change = table_delta(RNG, (3, 2), fids)
    changes = ChangeSet(3, 2)
    changes.absorb(change)
    changes.absorb(rows.pick(change, np.arange(0), np.arange(0)))
    assert_same(ordered(changes.merged()), ordered(change))


def test_heads_keep_the_newest_of_everything() -> None:
    blocks = [make_block(epoch) for epoch in (1, 2, 3)]
    merged = merge_blocks(blocks)
    last = blocks[-1]
    for name in ("positions", "owners", "tallies", "event_ts_us", "sealed_us", "pushes_applied"):
        assert getattr(merged, name) == getattr(last, name)
    assert merged.ingest_us == 999_999
    assert_same(merged.dense, {"d0": blocks[1].dense["d0"], "d1": last.dense["d1"]})
    lines: dict[int, bytes] = {}
    for block in blocks:
        change = block.filters["users"]
        lines |= dict(zip(change.lines.tolist(), map(bytes, change.cells), strict=True))
    found = merged.filters["users"]
    assert dict(zip(found.lines.tolist(), map(bytes, found.cells), strict=True)) == lines
    assert found.lines.tolist() == sorted(lines)
    assert (
        replace(found, lines=last.filters["users"].lines, cells=last.filters["users"].cells)
        == (last.filters["users"])
    )


def test_a_bases_filter_keeps_only_lines_that_count() -> None:
    base = as_base(make_block(1))
    assert base.base
    base = replace(base, filters={"users": filter_delta(RNG, 5, range(40))})
    block = replace(make_block(2), filters={"users": filter_delta(RNG, 7, range(30, 50))})
    found = fold(base, block).filters["users"]
    newest = {
        int(line): int(np.frombuffer(bytes(cells[:8]), "<i8")[0])
        for change in (base.filters["users"], block.filters["users"])
        for line, cells in zip(change.lines, change.cells, strict=True)
    }
    assert found.lines.tolist() == sorted(line for line, used in newest.items() if used >= 6)
    assert (found.period, found.now_s) == (7, 75)


def test_a_filter_configured_anew_begins_afresh() -> None:
    change = make_block(2).filters["users"]
    block = replace(make_block(2), filters={"users": replace(change, total_lines=128)})
    merged = merge_blocks([make_block(1), block])
    assert_same(merged.filters["users"], block.filters["users"])


def test_what_does_not_belong_together_is_refused() -> None:
    one, two, three = (make_block(epoch) for epoch in (1, 2, 3))
    assert merge_blocks([one]) is one
    for wrong, error in (
        ([], SpecError),
        ([one, three], BlockGapError),
        ([two, one], BlockGapError),
        ([one, replace(two, generation=2)], BlockGapError),
        ([one, replace(two, base=True)], ForeignBlockError),
        ([replace(one, base=True), two], ForeignBlockError),
        ([one, replace(two, shard=1)], ForeignBlockError),
        ([one, replace(two, model="n")], ForeignBlockError),
    ):
        with pytest.raises(error):
            merge_blocks(wrong)
    narrow, wide = (
        replace(block, tables={"t": table_delta(RNG, (width, 0), [1])})
        for block, width in ((one, 1), (two, 2))
    )
    with pytest.raises(ShapeError):
        merge_blocks([narrow, wide])


def test_an_after_that_is_spelled_out_follows_as_well() -> None:
    two = replace(make_block(7, generation=3), after=Cursor(1, 1))
    merged: Block = merge_blocks([make_block(1), two])
    assert (merged.follows, merged.cursor) == (Cursor(0, 1), Cursor(7, 3))


def test_buckets_without_kernels_are_the_kernels_buckets() -> None:
    fids = RNG.integers(0, 2**64, 10_000, dtype=np.uint64)
    np.testing.assert_array_equal(rows.buckets_of(fids), bucket_of(fids))
    assert rows.BUCKETS == BUCKETS
