"""Laws of fids: one logical value, one fid, whatever it is stored as; kernels equal xxhash."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from model.fids import IDENTITY_MASK, MISSING_IDENTITY, column_fids, fid, slots_of

SLOTS = st.integers(0, 2**16 - 1)
INTEGERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-5, 5),
    st.integers(2**48 - 3, 2**48 + 3),
    st.sampled_from([-(2**63), 2**63 - 1]),
)
TEXTS = st.one_of(
    st.text(max_size=20),
    st.from_regex(r"[+-]?[0-9]{1,22}", fullmatch=True),
    st.from_regex(r"[0-9a-f]{8}", fullmatch=True),
)


def identity(value: int | str | None) -> int:
    """The rules of model.fids, word by word."""
    if value is None or value == "":
        return MISSING_IDENTITY
    if isinstance(value, str):
        try:
            number = int(value)
        except ValueError:
            number = None
        if number is None or str(number) != value or not -(2**63) <= number < 2**64:
            return xxh3_64_intdigest(value.encode()) & IDENTITY_MASK
        value = number
    if 0 <= value < 2**48:
        return value
    return xxh3_64_intdigest((value % 2**64).to_bytes(8, "little")) & IDENTITY_MASK


@given(SLOTS, st.lists(st.one_of(st.none(), INTEGERS)))
def test_integers_have_the_fids_of_the_rules(slot: int, values: list[int | None]) -> None:
    fids = column_fids("f", slot, pa.array(values, pa.int64()))
    assert fids.tolist() == [(slot << 48) | identity(v) for v in values]
    assert slots_of(fids).tolist() == [slot] * len(values)


@given(st.lists(st.integers(0, 2**64 - 1)))
def test_unsigned_integers_have_the_fids_of_the_rules(values: list[int]) -> None:
    fids = column_fids("f", 1, pa.array(values, pa.uint64()))
    assert fids.tolist() == [(1 << 48) | identity(v) for v in values]


@given(st.lists(st.one_of(st.none(), TEXTS)))
@example(["0", "-0", "00", "+1", "1.0", " 1", "1 ", "-", "--1", "", None])
@example([str(2**64 - 1), str(2**64), str(-(2**63)), str(-(2**63) - 1), "9" * 19, "9" * 20])
@example([str(2**48 - 1), str(2**48)])
@example(["١", "①", "é"])
def test_texts_have_the_fids_of_the_rules(values: list[str | None]) -> None:
    fids = column_fids("f", 9, pa.array(values, pa.string()))
    assert fids.tolist() == [(9 << 48) | identity(v) for v in values]


@given(st.lists(st.one_of(st.none(), TEXTS), min_size=1), st.integers(1, 60), st.data())
def test_long_sliced_and_encoded_columns_agree_with_the_plain_one(
    values: list[str | None], times: int, data: st.DataObject
) -> None:
    column: Any = pa.array(values * times, pa.string())
    expected = column_fids("f", 2, column)
    begin = data.draw(st.integers(0, len(column)))
    assert column_fids("f", 2, column.slice(begin)).tolist() == expected[begin:].tolist()
    for other in (
        column.dictionary_encode(),
        column.cast(pa.large_string()),
        column.cast(pa.string_view()),
    ):
        assert column_fids("f", 2, other).tolist() == expected.tolist()
        assert column_fids("f", 2, other.slice(begin)).tolist() == expected[begin:].tolist()


@given(SLOTS, st.lists(INTEGERS))
def test_printed_and_typed_integers_have_the_same_fids(slot: int, values: list[int]) -> None:
    typed = column_fids("f", slot, pa.array(values, pa.int64()))
    printed = column_fids("f", slot, pa.array([str(v) for v in values], pa.string()))
    assert typed.tolist() == printed.tolist()
    assert typed.tolist() == [fid(slot, v) for v in values]


def test_narrow_integers_and_booleans_follow_the_rules() -> None:
    for kind in (pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16(), pa.uint32()):
        assert column_fids("f", 1, pa.array([7, None], kind)).tolist() == [fid(1, 7), fid(1, None)]
    assert column_fids("f", 1, pa.array([-7], pa.int16())).tolist() == [fid(1, -7)]
    booleans = column_fids("f", 1, pa.array([True, False, None]))
    assert booleans.tolist() == [fid(1, "true"), fid(1, "false"), fid(1, "")]
    assert column_fids("f", 1, pa.nulls(2)).tolist() == [fid(1, None)] * 2


def test_a_null_with_bytes_beneath_it_is_missing() -> None:
    column = pa.Array.from_buffers(
        pa.string(),
        2,
        [
            pa.py_buffer(np.packbits([1, 0], bitorder="little").tobytes()),
            pa.py_buffer(np.array([0, 1, 4], np.int32).tobytes()),
            pa.py_buffer(b"axyz"),
        ],
    )
    assert column_fids("f", 1, column).tolist() == [fid(1, "a"), fid(1, None)]
