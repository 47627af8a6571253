"""Unsaved blocks: however they are merged, what is saved from any place the store stands is the same."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.block import Block, Cursor
from ps.errors import BlockGapError
from ps.host.saving import is_quiet
from ps.host.unsaved import Sealed, UnsavedBlocks
from ps.shard import Shard
from ps.store.merge import merge_blocks
from tests.ps.shards import SPEC, make, make_push


def blocks_of(seed: int, pushes: list[bool]) -> list[Block]:
    """An epoch each, in which something is learned or nothing."""
    shard, blocks, step = make(), [], 0
    for learns in pushes:
        if learns:
            shard.push(make_push(seed, step, step + 1))
            step += 1
        blocks.append(shard.seal(0))
    return blocks


def unsaved(max_blocks: int = 1, max_bytes: int = 1 << 30) -> UnsavedBlocks:
    return UnsavedBlocks(Sealed(make().standing(), {}), max_bytes, max_blocks)


def taken(held: UnsavedBlocks, after: Cursor) -> Shard:
    """A reader of everything up to `after`, and then of what is to be saved."""
    _, blocks = held.take(after)
    reader = Shard(SPEC)
    if blocks:
        block = merge_blocks([one.block for one in blocks])
        assert (block.follows, block.cursor) == (after, held.end)
        if after == Cursor(0, 0):
            reader.apply(block)
    return reader


@given(
    pushes=st.lists(st.booleans(), min_size=1, max_size=60),
    saves=st.sets(st.integers(0, 59)),
    seed=st.integers(0, 1 << 32),
)
@settings(max_examples=40, deadline=None)
def test_merging_loses_no_place_the_store_may_stand_at(
    pushes: list[bool], saves: set[int], seed: int
) -> None:
    held, expected = unsaved(), make()
    blocks = blocks_of(seed, pushes)
    ends = [Cursor(0, 0)]
    for number, block in enumerate(blocks):
        expected.apply(block)
        held.add(block, {})
        if number in saves:
            held.take(Cursor(0, 0))
            ends = [Cursor(0, 0), *[*ends, block.cursor][-8:]]
        if held.crowded():
            held.merge()
            assert not held.crowded() or saves
    assert taken(held, Cursor(0, 0)).digest() == expected.digest()
    for after in ends[-4:]:
        taken(held, after)
    assert len(held) <= max(17, 8 + 2 * 8 + 1)


@given(pushes=st.lists(st.booleans(), min_size=2, max_size=8), data=st.data())
@settings(max_examples=40, deadline=None)
def test_what_the_store_has_is_forgotten(pushes: list[bool], data: st.DataObject) -> None:
    held, blocks = unsaved(), blocks_of(1, pushes)
    for block in blocks:
        held.add(block, {})
    at = data.draw(st.sampled_from(blocks)).cursor
    assert held.forget(at)
    assert held.begin == at
    assert len(held) == len(blocks) - at.epoch
    assert not held.forget(Cursor(at.epoch, 7))
    for earlier in blocks[: at.epoch - 1]:
        with pytest.raises(BlockGapError):
            held.take(earlier.cursor)


def test_a_block_that_does_not_follow_is_refused() -> None:
    held, blocks = unsaved(), blocks_of(1, [True, True, True])
    held.add(blocks[0], {})
    with pytest.raises(BlockGapError):
        held.add(blocks[2], {})
    held.bridge(Cursor(2, 0))
    held.add(blocks[2], {})
    merged = merge_blocks([one.block for one in held.take(Cursor(0, 0))[1]])
    assert (merged.follows, merged.cursor) == (Cursor(0, 0), Cursor(3, 0))


def test_merging_is_worth_its_while() -> None:
    """By size it waits for twice what the last merge left, so that it does not merge all the time."""
    held = unsaved(max_blocks=1_000, max_bytes=1)
    merges = 0
    for block in blocks_of(1, [True] * 40):
        held.add(block, {})
        if held.crowded():
            held.merge()
            merges += 1
    assert 1 <= merges < 32
    assert len(held) < 40


def test_quiet_is_when_nothing_but_numbers_has_changed() -> None:
    shard = make()
    shard.push(make_push(1, 0, 1))
    before = shard.seal(0)
    quiet = [shard.seal(0), shard.seal(0, 9)]
    assert is_quiet(before, quiet)
    shard.fence({"p": 3})
    fenced = shard.seal(0)
    assert not is_quiet(before, [*quiet, fenced])
    assert not shard.push(make_push(1, 0, 1, generation=3)).applied
    assert is_quiet(fenced, [shard.seal(0)])
    shard.push(make_push(1, 1, 2, generation=3))
    assert not is_quiet(fenced, [shard.seal(0)])
