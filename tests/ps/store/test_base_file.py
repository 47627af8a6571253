"""Base and block files: round trips, reading parts, and every kind of damage."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgpack
import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.block import Cursor
from ps.errors import CorruptFileError, ForeignBlockError, ForeignFileError, ShapeError, StoreError
from ps.store import base_format, sections
from ps.store.base_file import BaseReader
from ps.store.base_writer import BaseWriter, write_base
from ps.store.block_file import read_block, write_block
from ps.store.heads import head_of
from ps.store.names import base_name, block_name
from tests.ps.fids import mix64
from tests.ps.store.blocks_by_hand import SHAPES, held_by, make_block, table_delta
from tests.ps.store.folder import Folder, folder
from tests.ps.test_codec import assert_same

if TYPE_CHECKING:
    from ps.block import Block
    from ps.store.location import Location

AT = Cursor(9, 1)
NAME = base_name(2, AT)


def make_base(rows: int, seed: int = 1) -> Block:
    rng = np.random.default_rng(seed)
    tables = {
        name: table_delta(rng, shape, range(7 * rows, 8 * rows)) for name, shape in SHAPES.items()
    }
    return make_block(9, tables, base=True)


def stored(rows: int = 40) -> tuple[Folder, Location, Block]:
    files, location = folder()
    base = make_base(rows)
    assert write_base(location, base) == len(files.files[NAME])
    return files, location, base


@pytest.fixture
def small_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "SECTION_BYTES", 600)


@pytest.mark.parametrize("rows", [0, 1, 40, 3000])
def test_a_base_reads_back_as_it_was_written(rows: int, small_sections: None) -> None:
    _, location, base = stored(rows)
    reader = BaseReader(location, 2, AT)
    assert reader.model == "m"
    assert_same(reader.head, head_of(base))
    assert {n: (t.width, t.state_width, t.rows) for n, t in reader.tables.items()} == {
        n: (*SHAPES[n], rows) for n in SHAPES
    }
    assert held_by({name: part} for name, part in reader.rows()) == held_by([base.tables])
    reader.verify()
    if rows == 3000:
        assert len(reader.tables["users"].sections) > 50


@given(first=st.integers(0, 1024), end=st.integers(0, 1024))
@settings(max_examples=30, deadline=None)
def test_any_range_of_buckets_can_be_read_alone(first: int, end: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sections, "SECTION_BYTES", 600)
        _, location, base = stored(300)
    reader = BaseReader(location, 2, AT)
    whole = held_by([base.tables])
    found = held_by({name: part} for name, part in reader.rows(first, end))
    for name in SHAPES:
        wanted = {fid for fid in whole[name] if first <= mix64(fid) >> 54 < end}
        assert found[name] == {fid: whole[name][fid] for fid in wanted}


def test_a_range_reads_no_more_than_its_sections(small_sections: None) -> None:
    files, location, _ = stored(3000)
    reader = BaseReader(location, 2, AT)
    files.reads.clear()
    list(reader.rows(512, 520, tables={"users"}))
    assert files.reads[NAME] < 2000


def test_sections_stay_readable_until_the_next_is_asked_for(small_sections: None) -> None:
    _, location, _ = stored(3000)
    parts = []
    reader = BaseReader(location, 2, AT)
    for loaded in reader.sections():
        assert loaded.rows.weights.flags.writeable
        assert loaded.rows.fids.flags.aligned
        parts.append({loaded.table: loaded.rows})
        assert held_by([parts[-1]])[loaded.table].keys() == set(loaded.rows.fids.tolist())
        loaded.raw[:] = 255  # what a reader does with it is its own affair
    reader.verify()


def test_pieces_of_a_section_are_written_one_after_another() -> None:
    _, location = folder()
    rng = np.random.default_rng(3)
    pieces = [table_delta(rng, (3, 2), range(i, i + i % 3)) for i in range(0, 40, 5)]
    with BaseWriter(location, 2, AT) as writer:
        writer.begin_table("users", 3, 2)
        writer.write_section(1024, *pieces)
        writer.finish(make_block(9, base=True))
    reader = BaseReader(location, 2, AT)
    found = held_by({name: part} for name, part in reader.rows())
    assert found == held_by({"users": piece} for piece in pieces)


def test_nothing_appears_unless_it_was_finished() -> None:
    files, location = folder()
    with pytest.raises(RuntimeError, match="finished"), BaseWriter(location, 2, AT):
        pass
    with BaseWriter(location, 2, AT) as writer:
        writer.begin_table("b", 1, 0)
        with pytest.raises(ShapeError, match="order"):
            writer.begin_table("a", 1, 0)
        with pytest.raises(ShapeError, match="another"):
            writer.finish(make_block(8, base=True))
        assert not files.files
        writer.finish(make_block(9, base=True))
    assert list(files.files) == [NAME]
    files.files.clear()
    assert not files.files
    with pytest.raises(ShapeError):
        write_base(location, replace(make_base(3), base=False))
    assert not files.files


def read_all(location: Location) -> None:
    reader = BaseReader(location, 2, AT)
    reader.verify()


def test_every_flipped_byte_is_found() -> None:
    files, location, _ = stored(13)
    whole = files.files[NAME]
    read_all(location)
    for at in range(len(whole)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(whole)
            damaged[at] ^= flip
            files.files[NAME] = bytes(damaged)
            with pytest.raises(CorruptFileError, match="shard-0002"):
                read_all(location)


def test_every_truncation_and_every_extension_is_found() -> None:
    files, location, _ = stored(3)
    whole = files.files[NAME]
    for size in range(len(whole)):
        files.files[NAME] = whole[:size]
        with pytest.raises(CorruptFileError):
            read_all(location)
    for more in (b"\0", bytes(64), whole):
        files.files[NAME] = whole + more
        with pytest.raises(CorruptFileError):
            read_all(location)


def test_a_file_that_shrinks_while_it_is_read_is_found() -> None:
    files, location, _ = stored(40)
    reader = BaseReader(location, 2, AT)
    files.files[NAME] = files.files[NAME][:100]
    with pytest.raises(CorruptFileError, match="middle"):
        reader.verify()


def test_another_version_is_foreign_and_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    files, location, _ = stored()
    whole = files.files[NAME]
    files.files[NAME] = base_format._prelude(7) + whole[64:]
    with pytest.raises(ForeignFileError, match="version 7"):
        read_all(location)


def test_a_base_under_anothers_name_is_found() -> None:
    files, location, _ = stored()
    for shard, at in ((1, AT), (2, Cursor(9, 2)), (2, Cursor(8, 1))):
        files.files[base_name(shard, at)] = files.files[NAME]
        with pytest.raises(CorruptFileError, match="is the base of shard 2"):
            BaseReader(location, shard, at)


def test_a_base_that_is_not_there_is_an_error_of_ours() -> None:
    _, location = folder()
    with pytest.raises(StoreError):
        BaseReader(location, 2, AT)


@given(
    footer=st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-1, 2**64 - 1)
        | st.binary(max_size=17)
        | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=7),
        max_leaves=20,
    )
)
@settings(max_examples=300, deadline=None)
def test_a_forged_footer_with_a_right_checksum_is_corrupt(footer: object) -> None:
    files, location = folder()
    for fields in (
        footer,
        ["m", 2, 9, 1, footer, 0, bytes(16)],
        ["m", 2, 9, 1, [["t", 1, 1, footer]], 0, bytes(16)],
    ):
        packed = msgpack.packb(fields)
        trailer = base_format._TRAILER.pack(
            base_format._footer_checksum(packed), len(packed), base_format._END
        )
        files.files[NAME] = base_format.prelude() + packed + trailer
        with pytest.raises(CorruptFileError):
            read_all(location)


def test_a_block_file_reads_back_as_it_was_written() -> None:
    files, location = folder()
    rng = np.random.default_rng(5)
    block = make_block(4, {"users": table_delta(rng, (3, 2), range(9), (50, 51))}, after=AT)
    assert write_block(location, block) == len(files.files[block_name(2, block.cursor)])
    assert_same(read_block(location, 2, block.cursor, "m"), block)
    with pytest.raises(ForeignBlockError, match="model"):
        read_block(location, 2, block.cursor, "other")


def test_damaged_and_misplaced_block_files_are_named() -> None:
    files, location = folder()
    block = make_block(4)
    write_block(location, block)
    name = block_name(2, block.cursor)
    whole = files.files[name]
    for shard, at in ((1, block.cursor), (2, Cursor(5, 1)), (2, Cursor(4, 2))):
        files.files[block_name(shard, at)] = whole
        with pytest.raises(CorruptFileError, match="holds the block of shard 2"):
            read_block(location, shard, at)
    write_block(location, replace(block, base=True))
    with pytest.raises(CorruptFileError, match="holds the base"):
        read_block(location, 2, block.cursor)
    for damaged in (
        whole[:-1],
        whole[:50] + b"\xff" + whole[51:],
        whole[:4] + b"\xff" + whole[5:],
        b"",
    ):
        files.files[name] = damaged
        with pytest.raises(CorruptFileError, match=name):
            read_block(location, 2, block.cursor)


def test_a_block_file_of_another_version_says_which() -> None:
    files, location = folder()
    block = make_block(4)
    write_block(location, block)
    name = block_name(2, block.cursor)
    content = files.files[name][:4] + b"\x09" + files.files[name][5:-16]
    files.files[name] = content + xxhash.xxh3_128_digest(content)
    with pytest.raises(ForeignFileError, match="version 9"):
        read_block(location, 2, block.cursor)
