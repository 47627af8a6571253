"""Integers, decimal text and pairs of fids to fids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ps.kernels.intrinsics import load, store
from ps.kernels.jit import inlined, kernel

if TYPE_CHECKING:
    from ps.arrays import U8, U64, Bool

# Every constant is a uint64, since numba turns uint64 with a plain int into a float.
_IDENTITY_MASK = np.uint64((1 << 48) - 1)
_IDENTITY_LIMIT = np.uint64(1 << 48)
# Bytes 8-15 and 16-23 of XXH3's default secret; xxhash's "bitflip" for inputs of 4 to 8 bytes.
_BITFLIP = np.uint64(0x1CAD21F72C81017C ^ 0xDB979083E96DD4DE)
_RRMXMX = np.uint64(0x9FB21C651E98DF25)
_INT64_MIN_MAGNITUDE = np.uint64(1 << 63)
_UINT64_MAX_TENTH = np.uint64((1 << 64) // 10)  # the largest number that may take another digit
_UINT64_MAX_LAST = np.uint64(((1 << 64) - 1) % 10)
_PAIR = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: makes a pair's order matter


@inlined
def xxh3_of_word(word: np.uint64) -> np.uint64:
    """xxh3_64 of the word's 8 little-endian bytes (XXH3_len_4to8_64b, seed 0)."""
    swapped = (word >> np.uint64(32)) | (word << np.uint64(32))
    h = swapped ^ _BITFLIP
    h ^= ((h << np.uint64(49)) | (h >> np.uint64(15))) ^ (
        (h << np.uint64(24)) | (h >> np.uint64(40))
    )
    h *= _RRMXMX
    h ^= (h >> np.uint64(35)) + np.uint64(8)
    h *= _RRMXMX
    return h ^ (h >> np.uint64(28))


@inlined
def integer_identity(word: np.uint64) -> np.uint64:
    """The word itself below 2^48, otherwise 48 bits of its hash (negatives arrive as large)."""
    if word < _IDENTITY_LIMIT:
        return word
    return xxh3_of_word(word) & _IDENTITY_MASK


@kernel
def fids_of_words(words: U64, prefix: np.uint64, out: U64) -> None:
    """out[i] = prefix | identity of the integer words[i] (two's complement). All uint64[n]."""
    seen = np.uint64(0)
    for i in range(len(words)):
        seen |= load(words, i)
    if seen < _IDENTITY_LIMIT:
        # Small ids, the common case, go in as they are: nothing to choose, so it vectorises.
        for i in range(len(words)):
            store(out, i, prefix | load(words, i))
        return
    for i in range(len(words)):
        out[i] = prefix | integer_identity(words[i])


@kernel
def fids_of_decimals(
    starts: np.ndarray[tuple[int], np.dtype[np.int32]],
    text: U8,
    prefix: np.uint64,
    missing: np.uint64,
    out: U64,
    other: Bool,
) -> int:
    """Fids of the strings that are canonical decimal integers or empty; says which are neither.

    starts: int32[n + 1] into text: uint8[m]. out: uint64[n], set where other (bool[n]) is False.
    Canonical is what printing an int64 or uint64 gives: no plus sign, no leading zero, no "-0".
    Returns how many are other.
    """
    others = 0
    for i in range(len(out)):
        begin, end = starts[i], starts[i + 1]
        other[i] = False
        if begin == end:
            out[i] = missing
            continue
        negative = text[begin] == 45  # "-"
        first = begin + 1 if negative else begin
        digits = end - first
        ok = 1 <= digits <= 20
        if ok and text[first] == 48:  # "0"
            ok = digits == 1 and not negative
        value = np.uint64(0)
        at = first
        while ok and at < end:
            digit = np.uint64(text[at]) - np.uint64(48)  # below "0" wraps round to a large number
            if digit > np.uint64(9):
                ok = False
            elif value > _UINT64_MAX_TENTH or (
                value == _UINT64_MAX_TENTH and digit > _UINT64_MAX_LAST
            ):
                ok = False
            else:
                value = value * np.uint64(10) + digit
            at += 1
        if ok and negative:
            ok = value <= _INT64_MIN_MAGNITUDE
            value = ~value + np.uint64(1)
        if ok:
            out[i] = prefix | integer_identity(value)
        else:
            other[i] = True
            others += 1
    return others


@kernel
def cross_fids(left: U64, right: U64, prefix: np.uint64, out: U64) -> None:
    """out[i] = prefix | 48 hashed bits of the ordered pair (left[i], right[i]). All uint64[n]."""
    for i in range(len(left)):
        word = xxh3_of_word(left[i]) * _PAIR ^ right[i]
        out[i] = prefix | (xxh3_of_word(word) & _IDENTITY_MASK)
