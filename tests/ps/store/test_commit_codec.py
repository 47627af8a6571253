"""Commits as bytes: round trips, and every kind of damage to a record."""

from __future__ import annotations

import dataclasses
import struct
from typing import Any

import msgpack
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.block import Cursor
from ps.errors import CorruptFileError, ForeignFileError, StoreError
from ps.store.commit_codec import commit_fields, decode_commit, encode_commit
from ps.store.envelope import MAGIC, VERSION, Kind, open_record, seal_record
from ps.store.names import commit_name
from tests.ps.store.commits import chain, commit

NAME = commit_name(Cursor(6, 1))


def forged(payload: bytes, version: int = VERSION, kind: int = Kind.COMMIT) -> bytes:
    """A record of any contents, with a checksum that is right."""
    content = struct.pack("<4sHHI", MAGIC, version, kind, len(payload)) + payload
    return content + xxhash.xxh3_128_digest(content)


@pytest.mark.parametrize(
    "chains",
    [
        None,
        [chain(0, 4, [5, 6])],
        [chain(0, 6, []), chain(1, None, [6]), chain(2, None, [])],
        [dataclasses.replace(chain(0, 4, [6], generation=2), positions={})],
    ],
)
def test_decoding_gives_back_what_was_encoded(chains: Any) -> None:
    whole = commit(6, chains)
    assert decode_commit(encode_commit(whole), NAME) == whole


def test_equal_commits_have_equal_bytes_in_whatever_order_they_were_built() -> None:
    whole = commit(6)
    other = dataclasses.replace(
        whole,
        positions=dict(reversed(whole.positions.items())),
        rows=dict(reversed(list(whole.rows.items()))),
    )
    assert encode_commit(other) == encode_commit(whole)


def test_every_flipped_byte_is_found() -> None:
    data = encode_commit(commit(6))
    for at in range(len(data)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[at] ^= flip
            with pytest.raises(CorruptFileError, match="e000000000006"):
                decode_commit(bytes(damaged), NAME)


def test_every_truncation_and_every_extension_is_found() -> None:
    data = encode_commit(commit(6))
    for damaged in [data[:length] for length in range(len(data))] + [data + b"\0", data + data]:
        with pytest.raises(CorruptFileError):
            decode_commit(damaged, NAME)


def test_a_record_that_was_cut_short_is_called_so() -> None:
    data = seal_record(Kind.CLAIM, ["a" * 50])
    with pytest.raises(CorruptFileError, match=f"cut short: 40 of {len(data)} bytes are there"):
        open_record(Kind.CLAIM, data[:40], "c")


def test_another_commit_under_this_name_is_found() -> None:
    for other in (commit(5), commit(6, generation=2)):
        with pytest.raises(CorruptFileError, match="holds the restore point"):
            decode_commit(encode_commit(other), NAME)


def test_another_kind_of_record_under_this_name_is_found() -> None:
    with pytest.raises(CorruptFileError, match="kind"):
        decode_commit(seal_record(Kind.CLAIM, commit_fields(commit(6))), NAME)


def test_another_version_is_foreign_only_where_it_is_whole() -> None:
    data = forged(b"whatever it holds then", version=2)
    with pytest.raises(ForeignFileError, match="version 2"):
        decode_commit(data, NAME)
    with pytest.raises(CorruptFileError):
        decode_commit(data[:-1], NAME)


@given(noise=st.binary(max_size=200), whole=st.booleans())
@settings(max_examples=300)
def test_random_bytes_are_an_error_of_ours(noise: bytes, whole: bool) -> None:
    with pytest.raises(StoreError):
        decode_commit(forged(noise) if whole else noise, NAME)


json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(max_size=4)
    | st.binary(max_size=4)
    | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(at=st.integers(0, 13), found=json_like)
@settings(max_examples=500)
def test_forged_fields_with_a_right_checksum_are_an_error_or_a_commit(at: int, found: Any) -> None:
    fields: list[Any] = commit_fields(commit(6))
    fields[at] = found
    try:
        decoded = decode_commit(forged(msgpack.packb(fields)), NAME)
    except CorruptFileError:
        return
    assert decode_commit(encode_commit(decoded), NAME) == decoded


@pytest.mark.parametrize(
    "payload", [b"", b"\xc1", b"\x91" * 5000, b"\xdd\xff\xff\xff\xff", b"\x90"]
)
def test_absurd_payloads_are_corrupt(payload: bytes) -> None:
    with pytest.raises(CorruptFileError):
        decode_commit(forged(payload), NAME)


@pytest.mark.parametrize(
    "chains",
    [
        [],
        [chain(1, None, [1])],
        [chain(0, None, [2, 1])],
        [chain(0, 5, [5, 6])],
        [chain(0, None, [1]), chain(0, None, [1])],
    ],
)
def test_chains_that_make_no_sense_are_corrupt(chains: Any) -> None:
    with pytest.raises(CorruptFileError):
        decode_commit(encode_commit(commit(6, chains)), NAME)


def test_a_record_comes_back_as_lists() -> None:
    assert open_record(Kind.CLAIM, seal_record(Kind.CLAIM, [1, [b"x", None]]), "a") == [
        1,
        [b"x", None],
    ]
