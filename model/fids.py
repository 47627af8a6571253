"""Feature ids: slot in the high 16 bits, 48 bits of identity below.

What counts as the same identity, wherever it comes from (CSV text, typed columns, a request):

- An integer of 64 bits, signed or not, 0 <= i < 2^48: itself. Others: xxh3_64 of the 8 little-endian bytes
  (two's complement).
- Text that is exactly how such an integer prints ("12", "-7"; not "012", "+12", "12.0", " 12") is
  that integer: CSV and JSON agree. All other text: xxh3_64 of its UTF-8 bytes.
- A boolean is the text "true" or "false".
- Null and the empty text are both "missing", which is an identity like any other: CSV cannot tell
  them apart. It is the hash of no bytes.

Hashes keep their low 48 bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
from xxhash import xxh3_64_intdigest

from model.arrow import dictionary, filled_words, nulls, take, text_buffers
from model.errors import FeatureError
from model.kernels.fids import fids_of_decimals, fids_of_words

if TYPE_CHECKING:
    from model.arrow import Column
    from ps.arrays import I64, U16, U64

IDENTITY_BITS = 48
IDENTITY_MASK = (1 << IDENTITY_BITS) - 1
SLOTS = 1 << 16
MISSING_IDENTITY = xxh3_64_intdigest(b"") & IDENTITY_MASK

# Below this many strings, hashing each costs less than finding the distinct ones.
_WORTH_A_DICTIONARY = 128


def fid(slot: int, identity: int | str | None) -> int:
    """The fid of one identity in a slot; None is the missing one. The scalar form of the rules.

    Raises FeatureError for a slot outside 0..65535.
    """
    column = pa.array([None if identity is None else str(identity)], pa.string())
    return int(column_fids(f"slot {slot}", slot, column)[0])


def slots_of(fids: U64) -> U16:
    """The slot of each fid: uint64[n] -> uint16[n]."""
    return (fids >> np.uint64(IDENTITY_BITS)).astype(np.uint16)


def slot_prefix(feature: str, slot: int) -> np.uint64:
    """The slot's high bits. Raises FeatureError for a slot outside 0..65535."""
    if not 0 <= slot < SLOTS:
        raise FeatureError(feature, f"slot {slot} is outside 0..{SLOTS - 1}")
    return np.uint64(slot << IDENTITY_BITS)


def integer_fids(prefix: np.uint64, words: I64) -> U64:
    """Fids of integers, int64[n] (uint64 by its bits) -> uint64[n]."""
    out = np.empty(len(words), np.uint64)
    fids_of_words(words.view(np.uint64), prefix, out)
    return out


def column_fids(feature: str, slot: int, column: Column) -> U64:
    """Fids of a column of integers, text or booleans, plain or dictionary-encoded.

    Returns uint64[n]. Raises FeatureError, naming the feature, for any other type.
    """
    prefix = slot_prefix(feature, slot)
    kind = column.type
    if pt.is_integer(kind):
        fids = integer_fids(prefix, filled_words(column))
        if column.null_count:
            fids[nulls(column)] = missing_fid(prefix)
        return fids
    if pt.is_string(kind):
        return _text_fids(prefix, column)
    if pt.is_large_string(kind) or pt.is_string_view(kind) or pt.is_boolean(kind):
        return _text_fids(prefix, column.cast(pa.string()))
    if pt.is_dictionary(kind):
        values, codes = dictionary(column)
        return np.append(column_fids(feature, slot, values), missing_fid(prefix))[codes]
    if pt.is_null(kind):
        return np.full(len(column), missing_fid(prefix), np.uint64)
    raise FeatureError(
        feature,
        f"a column of {kind} cannot name things; use integers, text or booleans"
        + (", or make the feature bucketised" if pt.is_floating(kind) else ""),
    )


def missing_fid(prefix: np.uint64) -> np.uint64:
    """The fid that null and the empty text have in a slot."""
    return prefix | np.uint64(MISSING_IDENTITY)


def _text_fids(prefix: np.uint64, column: Column) -> U64:
    n = len(column)
    fids = np.empty(n, np.uint64)
    if n == 0:
        return fids
    other = np.empty(n, np.bool_)
    starts, text = text_buffers(column)
    others = fids_of_decimals(starts, text, prefix, missing_fid(prefix), fids, other)
    if column.null_count:  # a null may have bytes beneath it
        absent = nulls(column)
        fids[absent] = missing_fid(prefix)
        other &= ~absent
        others = int(np.count_nonzero(other))
    if others == n:
        return _hashed_fids(prefix, column)
    if others:
        rows = np.flatnonzero(other)
        fids[rows] = _hashed_fids(prefix, take(column, rows))
    return fids


def _hashed_fids(prefix: np.uint64, column: Column) -> U64:
    """Fids of strings without nulls, by hash; of many, only the distinct ones are hashed."""
    if len(column) < _WORTH_A_DICTIONARY:
        return _hashed(prefix, column)
    values, codes = dictionary(column)
    return _hashed(prefix, values)[codes]


def _hashed(prefix: np.uint64, column: Column) -> U64:
    texts: list[Any] = column.cast(pa.binary()).to_pylist()
    hashes = np.fromiter((xxh3_64_intdigest(text) for text in texts), np.uint64, len(texts))
    return (hashes & np.uint64(IDENTITY_MASK)) | prefix
