"""Laws of restoring, promoting and going back: what comes after is as if nothing had happened."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.admission import AdmitAfter
from ps.block import Block, Cursor
from ps.blocklog import BlockLog
from ps.codec import decode_block, encode_block
from ps.errors import BlockGapError, ForeignBlockError, SpecError
from ps.table import SlotPolicy
from tests.ps.shards import SPEC, make, make_push

if TYPE_CHECKING:
    from ps.shard import Shard

seeds = st.integers(0, 2**32 - 1)
steps = st.integers(1, 8)


def through_bytes(block: Block) -> Block:
    """As it comes back from a store."""
    return decode_block(encode_block(block))


def grown(seed: int, n_steps: int, *, begin: int = 0, shard: Shard | None = None) -> list[Block]:
    """The blocks of a shard that learns n_steps pushes, an epoch each."""
    shard = shard or make()
    blocks = []
    for step in range(begin, begin + n_steps):
        shard.push(make_push(seed, step, step + 1))
        blocks.append(through_bytes(shard.seal(sealed_us=0)))
    return blocks


def restored(blocks: list[Block]) -> Shard:
    """A reader that has applied them all."""
    shard = make()
    for block in blocks:
        assert shard.apply(block)
    return shard


def changed_since(blocks: list[Block]) -> dict[str, np.ndarray]:
    """Every fid that some block touched or removed."""
    tables = {name for block in blocks for name in block.tables}
    return {
        name: np.unique(
            np.concatenate(
                [
                    part
                    for block in blocks
                    for part in (block.tables[name].fids, block.tables[name].removed)
                ]
            )
        )
        for name in tables
    }


@given(seed=seeds, before=steps, after=steps, with_base=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_restored_shard_goes_on_as_if_it_had_never_stopped(
    seed: int, before: int, after: int, with_base: bool
) -> None:
    original = make()
    blocks = grown(seed, before, shard=original)
    if with_base:
        again = make()
        assert again.apply(through_bytes(original.export(sealed_us=0)))
    else:
        again = restored(blocks)
    assert again.digest() == original.digest()
    assert again.cursor == original.cursor
    again.promote(7)
    for step in range(before, before + after):
        push = make_push(seed, step, step + 1, generation=7)
        assert again.push(push) == original.push(push)
        assert again.digest() == original.digest()
        mine, its = again.seal(sealed_us=0), original.seal(sealed_us=0)
        assert (mine.tallies, mine.positions, mine.owners) == (
            its.tallies,
            its.positions,
            its.owners,
        )
        assert (mine.epoch, mine.pushes_applied) == (its.epoch, its.pushes_applied)


@given(seed=seeds, good=st.integers(0, 6), bad=steps, clean=steps)
@settings(max_examples=40, deadline=None)
def test_one_block_takes_readers_back(seed: int, good: int, bad: int, clean: int) -> None:
    """Whoever stands where the shard stood is, one block later, where it went back to."""
    present = make()
    blocks = grown(seed, good + bad, shard=present)
    reader = restored(blocks)
    back = restored(blocks[:good])
    was = back.digest()
    back.mark_changed(changed_since(blocks[good:]))
    back.promote(1, epoch=present.cursor.epoch, follows=present.cursor)
    difference = through_bytes(back.seal(sealed_us=0))
    assert difference.follows == present.cursor
    assert difference.cursor == Cursor(present.cursor.epoch + 1, 1)
    assert reader.apply(difference)
    assert reader.digest() == back.digest() == was
    for block in grown(seed + 1, clean, begin=good, shard=back):
        assert reader.apply(block)
    assert reader.digest() == back.digest()


# One table counts, in lines that are few enough to be shared, and forgets after some epochs.
COUNTING = replace(
    SPEC,
    tables=(
        SPEC.tables[0],
        replace(
            SPEC.tables[1],
            slots=(SlotPolicy(1, ttl_s=5, admission=AdmitAfter(3)),),
            remembered_fids=64,
            admission_window_s=4,
        ),
    ),
)


@given(seed=seeds, good=st.integers(0, 6), bad=steps, clean=steps, base=st.none() | steps)
@settings(max_examples=40, deadline=None)
def test_one_block_takes_readers_of_the_present_back_filters_included(
    seed: int, good: int, bad: int, clean: int, base: int | None
) -> None:
    """The block has only those lines of filters that differ; base: of which epoch of the present the
    reader began with a base.
    """
    present, reader, back = (make(spec=COUNTING) for _ in range(3))
    blocks = []
    for step in range(good + bad):
        present.push(make_push(seed, step, step + 1))
        blocks.append(through_bytes(present.seal(sealed_us=0)))
        if step == base:
            reader = make(spec=COUNTING)
            assert reader.apply(through_bytes(present.export(sealed_us=0)))
        else:
            assert reader.apply(blocks[-1])
    for block in blocks[:good]:
        assert back.apply(block)
    was = back.digest()
    back.mark_changed(changed_since(blocks[good:]), present=present)
    back.promote(1, epoch=present.cursor.epoch, follows=present.cursor)
    assert reader.apply(through_bytes(back.seal(sealed_us=0)))
    assert reader.digest() == back.digest() == was
    reader.promote(2)
    for step in range(good, good + clean):
        push = make_push(seed + 1, step, step + 1, generation=2)
        assert reader.push(push) == back.push(push)
    assert reader.digest() == back.digest()


def test_a_promoted_standby_fences_the_shard_it_followed() -> None:
    log = BlockLog()
    old, standby, reader = make(), make(), make()
    for block in grown(1, 3, shard=old):
        log.append(block)
        standby.apply(block)
        reader.apply(block)
    standby.promote(1)
    log.append(standby.seal(sealed_us=0))
    late = old.seal(sealed_us=0)
    with pytest.raises(ForeignBlockError):
        log.append(late)
    for block in log.read(0, 3, generation=0):
        assert reader.apply(block)
    assert reader.cursor == Cursor(4, 1)
    with pytest.raises(ForeignBlockError):
        reader.apply(late)
    with pytest.raises(ForeignBlockError):
        standby.apply(late)


def test_who_was_ahead_of_the_standby_starts_again_from_a_base() -> None:
    old, standby, ahead = make(), make(), make()
    blocks = grown(1, 4, shard=old)
    for block in blocks[:3]:
        standby.apply(block)
    for block in blocks:
        ahead.apply(block)
    standby.promote(1)
    with pytest.raises(ForeignBlockError):
        ahead.apply(standby.seal(sealed_us=0))
    log = BlockLog()
    for block in blocks:
        log.append(block)
    log.append(standby.seal(sealed_us=0))
    with pytest.raises(ForeignBlockError):
        log.read(0, 4, generation=0)


def test_numbering_goes_on_after_damage() -> None:
    """Epochs 3 and 4 were lost: the next is 5, and follows 2."""
    shard = restored(grown(1, 2))
    shard.promote(1, epoch=4)
    block = shard.seal(sealed_us=0)
    assert (block.cursor, block.follows) == (Cursor(5, 1), Cursor(2, 0))
    again = shard.seal(sealed_us=0)
    assert (again.cursor, again.follows) == (Cursor(6, 1), Cursor(5, 1))
    reader = restored(grown(1, 1))
    with pytest.raises((BlockGapError, ForeignBlockError)):
        reader.apply(block)


def test_a_shard_is_promoted_upwards_only() -> None:
    shard = make(generation=3)
    shard.seal(sealed_us=0)
    for wrong in (2, 3):
        with pytest.raises(SpecError, match="higher"):
            shard.promote(wrong)
    with pytest.raises(SpecError, match="numbering"):
        shard.promote(4, epoch=0)
    shard.promote(4)
    assert shard.cursor == Cursor(1, 4)
