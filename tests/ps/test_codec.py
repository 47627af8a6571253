"""Blocks as bytes: round trips, determinism, and every kind of damage."""

from __future__ import annotations

import dataclasses
import struct
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.block import Block, Cursor, DenseDelta, FilterDelta, TableDelta, TableTally
from ps.codec import MAGIC, VERSION, decode_block, encode_block
from ps.errors import BlockError, CorruptBlockError, ForeignBlockError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Mapping


def make_block(seed: int = 1, rows: int = 5, width: int = 3, state_width: int = 2) -> Block:
    rng = np.random.default_rng(seed)
    removed = rng.integers(0, 2**64, rows // 2, dtype=np.uint64)
    return Block(
        model="ctr",
        shard=2,
        generation=3,
        epoch=41,
        base=False,
        event_ts_us=1_700_000_000_000_000,
        sealed_us=1_700_000_000_500_000,
        ingest_us=None if seed % 2 else 1_700_000_000_400_000,
        positions={"p1": 10, "p0": 2**50},
        tables={
            name: TableDelta(
                fids=rng.integers(0, 2**64, rows, dtype=np.uint64),
                last_seen_s=rng.integers(0, 2**32, rows, dtype=np.uint32),
                weights=rng.standard_normal((rows, width), dtype=np.float32),
                state=rng.standard_normal((rows, state_width), dtype=np.float32),
                removed=removed,
            )
            for name in ("users", "items")
        },
        dense={
            "mlp.w": DenseDelta(
                rng.standard_normal((4, 2), dtype=np.float32), np.zeros(0, np.float32)
            ),
            "bias": DenseDelta(np.float32(0.5) * np.ones((), np.float32), np.ones(3, np.float32)),
        },
        filters={
            name: FilterDelta(
                wide=lines > 0,
                total_lines=8,
                period=3,
                keys=lines,
                period_start_s=1_700_000_000,
                now_s=1_700_000_001,
                lines=np.arange(lines, dtype=np.uint32),
                cells=rng.integers(0, 256, (lines, 64), dtype=np.uint8),
            )
            for name, lines in (("users", rows), ("items", 0))
        },
        after=Cursor(40, 2),
        owners={"p1": 4, "p0": 0},
        tallies={"users": TableTally(1, 2, 3, 4)},
        pushes_applied=7,
        pushes_repeated=8,
    )


def assert_same(left: Any, right: Any) -> None:
    """Equal all the way down, arrays by dtype, shape and bytes."""
    if isinstance(left, np.ndarray):
        assert (left.dtype, left.shape) == (right.dtype, right.shape)
        assert left.tobytes() == right.tobytes()
    elif dataclasses.is_dataclass(left):
        assert type(left) is type(right)
        for field in dataclasses.fields(left):
            assert_same(getattr(left, field.name), getattr(right, field.name))
    elif isinstance(left, dict):
        assert set(left) == set(right)
        for key in left:
            assert_same(left[key], right[key])
    else:
        assert left == right
        assert type(left) is type(right)


# What follows the filters in a header that says nothing more.
_REST: list[Any] = [None, [], [], 0, 0]


def sealed(header: Any, body: bytes = b"", version: int = VERSION) -> bytes:
    """A forged block: any header, with a checksum that is right."""
    packed = header if isinstance(header, bytes) else msgpack.packb(header)
    content = struct.pack("<4sHHIQ", MAGIC, version, 0, len(packed), len(body)) + packed
    content += bytes(-len(content) % 8) + body
    return content + xxhash.xxh3_128_digest(content)


def header_of(block: Block) -> list[Any]:
    data = encode_block(block)
    length = struct.unpack_from("<4sHHIQ", data)[3]
    fields: list[Any] = msgpack.unpackb(data[20 : 20 + length])
    return fields


@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(0, 40),
    width=st.integers(0, 5),
    state_width=st.integers(0, 5),
)
@settings(max_examples=50, deadline=None)
def test_decoding_gives_back_what_was_encoded(
    seed: int, rows: int, width: int, state_width: int
) -> None:
    block = make_block(seed, rows, width, state_width)
    data = encode_block(block)
    assert_same(decode_block(data), block)
    assert encode_block(decode_block(data)) == data


def test_an_empty_block_round_trips() -> None:
    block = dataclasses.replace(make_block(), tables={}, dense={}, filters={}, positions={})
    assert_same(decode_block(encode_block(block)), block)


def test_equal_blocks_have_equal_bytes_in_whatever_order_they_were_built() -> None:
    def backwards(mapping: Mapping[str, Any]) -> dict[str, Any]:
        return dict(reversed(list(mapping.items())))

    block = make_block()
    other = dataclasses.replace(
        block,
        tables=backwards(block.tables),
        dense=backwards(block.dense),
        filters=backwards(block.filters),
        positions=backwards(block.positions),
    )
    assert encode_block(other) == encode_block(block)


def test_decoded_arrays_are_read_only_views_even_of_a_writable_buffer() -> None:
    data = bytearray(encode_block(make_block()))
    weights = decode_block(data).tables["users"].weights
    assert not weights.flags.writeable
    assert weights.base is not None
    assert weights.flags.aligned


def test_every_flipped_byte_is_found() -> None:
    data = encode_block(make_block())
    for at in range(len(data)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[at] ^= flip
            with pytest.raises(BlockError):
                decode_block(damaged)


def test_every_truncation_and_every_extension_is_found() -> None:
    data = encode_block(make_block())
    for length in range(len(data)):
        with pytest.raises(BlockError):
            decode_block(data[:length])
    for extra in (b"\0", data):
        with pytest.raises(BlockError):
            decode_block(data + extra)


@given(noise=st.binary(max_size=300), with_prelude=st.booleans())
@settings(max_examples=500, deadline=None)
def test_random_bytes_are_an_error_of_ours(noise: bytes, with_prelude: bool) -> None:
    data = struct.pack("<4sHHIQ", MAGIC, VERSION, 0, 10, 100) + noise if with_prelude else noise
    with pytest.raises(BlockError):
        decode_block(data)


json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(max_size=4)
    | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(at=st.integers(0, 16), forged=json_like, body=st.sampled_from([b"", bytes(8), bytes(64)]))
@settings(max_examples=500, deadline=None)
def test_a_forged_header_with_a_right_checksum_is_an_error_or_a_block(
    at: int, forged: Any, body: bytes
) -> None:
    header = header_of(make_block())
    header[at] = forged
    try:
        block = decode_block(sealed(header, body))
    except BlockError:
        return
    assert_same(decode_block(encode_block(block)), block)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xc1",
        b"\x91" * 5000,
        b"\xdd\xff\xff\xff\xff",
        b"\x81\x90\x00",
        [1, 2, 3],
        ["m", 0, 0, 0, False, 0, 0, None, [], [["t", 2**40, 4, 4, 2**40]], [], [], *_REST],
        ["m", 0, 0, 0, False, 0, 0, None, [], [["t", 2**62, 4, 4, 0]], [], [], *_REST],
        [
            "m",
            0,
            0,
            0,
            False,
            0,
            0,
            None,
            [],
            [["t", 0, 0, 0, 0], ["t", 0, 0, 0, 0]],
            [],
            [],
            *_REST,
        ],
        ["m", 0, 0, 0, False, 0, 0, None, [], [], [["d", [0, 2**40, 2**40], 0]], [], *_REST],
        ["m", 0, 0, 0, False, 0, 0, None, [], [], [["d", [1] * 100, 0]], [], *_REST],
        ["m", 0, 0, True, False, 0, 0, None, [], [], [], [], *_REST],
    ],
)
def test_absurd_headers_are_corrupt(header: Any) -> None:
    with pytest.raises(CorruptBlockError):
        decode_block(sealed(header))


def test_another_version_is_foreign_and_says_which() -> None:
    with pytest.raises(ForeignBlockError, match="version 99"):
        decode_block(sealed(header_of(make_block()), version=99))


def test_arrays_that_disagree_are_refused_when_encoding() -> None:
    block = make_block()
    users = dataclasses.replace(block.tables["users"], last_seen_s=np.zeros(1, np.uint32))
    with pytest.raises(ShapeError, match="users"):
        encode_block(dataclasses.replace(block, tables={"users": users}))
    users = dataclasses.replace(
        block.tables["users"],
        weights=block.tables["users"].weights.astype(np.float64),
    )
    with pytest.raises(ShapeError, match="float64"):
        encode_block(dataclasses.replace(block, tables={"users": users}))
