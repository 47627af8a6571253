"""Compaction: a chain, compacted wherever and however often, holds what its blocks hold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.block import Cursor
from ps.errors import CorruptFileError, ShapeError, SpecError
from ps.store import sections
from ps.store.base_file import BaseReader
from ps.store.block_file import write_block
from ps.store.chains import ChainReader
from ps.store.commit import ShardChain
from ps.store.compactor import compact
from ps.store.heads import head_of
from ps.store.names import base_name, block_name
from tests.ps.fids import same_bucket
from tests.ps.store.blocks_by_hand import (
    SHAPES,
    Held,
    held_by,
    make_block,
    random_chain,
    table_delta,
)
from tests.ps.store.folder import folder
from tests.ps.test_codec import assert_same

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ps.block import Block
    from ps.store.location import Location

PLENTY = 1 << 30


def held_in(location: Location, at: Cursor) -> Held:
    return held_by({name: rows} for name, rows in BaseReader(location, 2, at).rows())


def chain_of(base: Cursor | None, blocks: Sequence[Block]) -> ShardChain:
    return ShardChain(2, base, tuple(block.cursor for block in blocks))


@given(
    seed=st.integers(0, 2**32),
    cuts=st.lists(st.integers(0, 8), max_size=3),
    fids=st.sampled_from([12, 40, 3000]),
    section_bytes=st.sampled_from([100, 2000, 1 << 20]),
    memory_bytes=st.sampled_from([0, 2000, PLENTY]),
)
@settings(max_examples=80, deadline=None)
def test_a_compacted_chain_holds_what_its_blocks_hold(
    seed: int, cuts: list[int], fids: int, section_bytes: int, memory_bytes: int
) -> None:
    files, location = folder()
    blocks = random_chain(seed, 8, fids, most=fids // 2)
    for block in blocks:
        write_block(location, block)
    base = None
    done = 0
    head = None
    for at in sorted({*cuts, 8} - {0}):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sections, "SECTION_BYTES", section_bytes)
            chain = chain_of(base, blocks[done:at])
            head = ChainReader(location, chain).head()
            size = compact(location, chain, memory_bytes=memory_bytes)
        base, done = chain.cursor, at
        assert size == len(files.files[base_name(2, base)])
        assert held_in(location, base) == held_by(block.tables for block in blocks[:at])
        assert head is not None
        reader = BaseReader(location, 2, base)
        assert_same(reader.head, head)
        assert reader.head.positions == blocks[at - 1].positions
        reader.verify()
    # However it was come by, the head is the same.
    once = ChainReader(location, chain_of(None, blocks)).head()
    assert_same(head, once)


def test_what_was_compacted_is_not_compacted_again() -> None:
    files, location = folder()
    blocks = random_chain(1, 3)
    for block in blocks:
        write_block(location, block)
    compact(location, chain_of(None, blocks), memory_bytes=PLENTY)
    before = dict(files.files)
    assert compact(location, chain_of(blocks[-1].cursor, []), memory_bytes=PLENTY) == 0
    assert files.files == before
    with pytest.raises(SpecError, match="nothing"):
        compact(location, chain_of(None, []), memory_bytes=PLENTY)


def test_a_table_may_be_empty_appear_and_lose_all_its_rows() -> None:
    _, location = folder()
    rng = np.random.default_rng(1)
    users = SHAPES["users"]
    blocks = [
        make_block(1, {"users": table_delta(rng, users, [])}),
        make_block(2, {"users": table_delta(rng, users, range(9))}),
        make_block(3, {"items": table_delta(rng, (1, 0), [5], [6])}),
        make_block(4, {"users": table_delta(rng, users, [], range(20))}),
    ]
    for block in blocks:
        write_block(location, block)
    base = None
    for i, block in enumerate(blocks):
        compact(location, chain_of(base, [block]), memory_bytes=PLENTY)
        base = block.cursor
        assert held_in(location, base) == held_by(b.tables for b in blocks[: i + 1])
    tables = BaseReader(location, 2, Cursor(4, 1)).tables
    assert {name: table.rows for name, table in tables.items()} == {"items": 1, "users": 0}


def test_a_small_base_takes_large_blocks_in_little_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sections, "SECTION_BYTES", 5000)
    files, location = folder()
    rng = np.random.default_rng(1)
    blocks = [
        make_block(1, {"users": table_delta(rng, (3, 2), range(5))}),
        make_block(2, {"users": table_delta(rng, (3, 2), range(20_000), [3])}),
    ]
    for block in blocks:
        write_block(location, block)
    compact(location, chain_of(None, blocks[:1]), memory_bytes=PLENTY)
    files.reads.clear()
    compact(location, chain_of(Cursor(1, 1), blocks[1:]), memory_bytes=250_000)
    assert held_in(location, Cursor(2, 1)) == held_by(block.tables for block in blocks)
    sizes = [s.size_bytes for s in BaseReader(location, 2, Cursor(2, 1)).tables["users"].sections]
    assert 128 < len(sizes) < 256
    assert max(sizes) < 6000
    # 20,000 changes in rounds of about 5,000, after one reading that counts them
    assert (
        4
        <= files.reads[block_name(2, Cursor(2, 1))] / len(files.files[block_name(2, Cursor(2, 1))])
        <= 6
    )


def test_one_bucket_may_hold_more_than_a_section(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "SECTION_BYTES", 200)
    _, location = folder()
    rng = np.random.default_rng(1)
    fids = same_bucket(300, 77)
    blocks = [
        make_block(1, {"users": table_delta(rng, (3, 2), fids[:200])}),
        make_block(2, {"users": table_delta(rng, (3, 2), fids[100:], fids[:50])}),
    ]
    for i, block in enumerate(blocks):
        write_block(location, block)
        compact(location, chain_of(blocks[0].cursor if i else None, [block]), memory_bytes=PLENTY)
    assert held_in(location, Cursor(2, 1)) == held_by(block.tables for block in blocks)


def test_a_damaged_or_broken_chain_leaves_no_base() -> None:
    files, location = folder()
    blocks = random_chain(5, 4)
    for block in blocks:
        write_block(location, block)
    compact(location, chain_of(None, blocks[:2]), memory_bytes=PLENTY)
    names = base_name(2, blocks[1].cursor), block_name(2, blocks[3].cursor)
    before = dict(files.files)
    for name in names:
        data = bytearray(before[name])
        data[len(data) // 2] ^= 1
        files.files[name] = bytes(data)
        with pytest.raises(CorruptFileError, match=name):
            compact(location, chain_of(blocks[1].cursor, blocks[2:]), memory_bytes=PLENTY)
        files.files[name] = before[name]
    for chain in (
        chain_of(blocks[1].cursor, blocks[3:]),
        chain_of(None, blocks[1:]),
        chain_of(None, [blocks[0], blocks[2]]),
    ):
        with pytest.raises(CorruptFileError, match="follows"):
            compact(location, chain, memory_bytes=PLENTY)
    assert files.files == before
    write_block(location, replace(blocks[3], model="another"))
    before = dict(files.files)
    assert blocks[2].generation == blocks[3].generation
    with pytest.raises(CorruptFileError, match="model another"):
        compact(location, chain_of(blocks[1].cursor, blocks[2:]), memory_bytes=PLENTY)
    assert files.files == before


def test_a_table_of_another_shape_is_refused() -> None:
    files, location = folder()
    rng = np.random.default_rng(1)
    blocks = [
        make_block(i, {"users": table_delta(rng, (width, 2), [1])}) for i, width in ((1, 3), (2, 4))
    ]
    for block in blocks:
        write_block(location, block)
    with pytest.raises(ShapeError, match="users"):
        compact(location, chain_of(None, blocks), memory_bytes=PLENTY)
    compact(location, chain_of(None, blocks[:1]), memory_bytes=PLENTY)
    with pytest.raises(ShapeError, match="users"):
        compact(location, chain_of(blocks[0].cursor, blocks[1:]), memory_bytes=PLENTY)
    assert base_name(2, blocks[1].cursor) not in files.files


def test_progress_rises_to_its_end() -> None:
    _, location = folder()
    blocks = random_chain(3, 4, fids=3000, most=1000)
    for block in blocks:
        write_block(location, block)
    seen: list[tuple[int, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sections, "SECTION_BYTES", 2000)
        compact(
            location,
            chain_of(None, blocks),
            memory_bytes=PLENTY,
            on_progress=lambda done, total: seen.append((done, total)),
        )
    assert len(seen) > 10
    assert seen == sorted(seen)
    assert all(done <= total for done, total in seen)


def test_the_head_of_a_chain_is_a_base_at_its_cursor() -> None:
    _, location = folder()
    blocks = [replace(block, base=False) for block in random_chain(3, 2)]
    for block in blocks:
        write_block(location, block)
    head = ChainReader(location, chain_of(None, blocks)).head()
    assert head is not None
    assert (head.base, head.cursor, head.after) == (True, blocks[-1].cursor, None)
    assert_same(head, head_of(head))
    assert ChainReader(location, chain_of(None, [])).head() is None
