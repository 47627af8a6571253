"""How often a fid occurred lately: a count-min sketch that slides, one cache line a fid.

A fid hashes to one line of 64 bytes and, in it, to one cell in each of four groups (a blocked
count-min sketch with conservative update: Cormode and Muthukrishnan 2005, Estan and Varghese 2002).
A line holds the number of the period it was last used in, then the cells of that period, then those
of the period before. Sliding is lazy: a line that meets a later period moves or clears its own
cells, so that turning to a new period is one increment and no call ever sweeps the memory.

The estimate is this period's count plus the last one's. It never falls short of the occurrences
in those two periods (up to the ceiling of a cell); it exceeds them only where other fids share all
four cells. A period ends when it has seen KEY_LIMIT new fids, two a line, or when its half of the
time window is over: so lines never fill up, however long the stream. At the end of a full period a
fid counts too much in about 1 case of 70, narrow; 1 of 12, wide, where one more matters little.

Narrow cells are uint8, four groups of 7; wide cells are uint16, four groups of 3, for thresholds
above 255. Arrays, views of the same memory: cells uint8[64 * lines], wide_cells uint16[32 * lines],
periods int64[8 * lines]. clock: int64[CLOCK_WIDTH], see the constants. changed: uint64[lines / 64],
a bit for every line written since it was last cleared.
"""

from __future__ import annotations

import numpy as np

from ps.arrays import Int
from ps.kernels.hashing import mix64
from ps.kernels.intrinsics import load, store
from ps.kernels.jit import inlined, kernel

LINE_BYTES = 64
KEYS_PER_LINE = 2  # new fids a period may bring, per line

PERIOD = 0  # clock[PERIOD]: number of the period; starts at 1, so that untouched lines are old
KEYS = 1  # fids that were new to this period
KEY_LIMIT = 2  # as many end it
PERIOD_START_S = 3  # event time at which it began
NOW_S = 4  # event time of the latest push
LINE_MASK = 5  # lines - 1, lines being a power of two
WIDE = 6  # 1 where cells are uint16
SEED = 7  # of the Poisson draws
CLOCK_WIDTH = 8

NARROW_CEILING = 255
WIDE_CEILING = 65535

_HEADER_BYTES = 8
_NARROW_GROUP = 7
_WIDE_GROUP = 3
_HALF_BYTES = 28
# Sets the sketch's hash apart from the one that chose the fid's bucket, shard and index line.
_APART = np.uint64(0xD6E8FEB86659FD93)
_LOW_32 = np.uint64(0xFFFFFFFF)
_SHIFT_32 = np.uint64(32)
_BYTE = 8
_BYTE_MASK = 0xFF
_WORD_BITS = 6  # log2 of the bits in a word of changed
_BIT_MASK = 63


@inlined
def _turn(clock: np.ndarray) -> None:
    """Begin the next period."""
    store(clock, PERIOD, load(clock, PERIOD) + 1)
    store(clock, KEYS, np.int64(0))
    store(clock, PERIOD_START_S, load(clock, NOW_S))


@inlined
def _catch_up(cells: np.ndarray, periods: np.ndarray, line: Int, period: Int) -> None:
    """Bring a line into this period: its cells become the last period's, or nothing's."""
    behind = period - load(periods, line * (LINE_BYTES // 8))
    if behind == 0:
        return
    store(periods, line * (LINE_BYTES // 8), period)
    new_at = line * LINE_BYTES + _HEADER_BYTES
    for i in range(new_at, new_at + _HALF_BYTES):
        kept = load(cells, i) if behind == 1 else np.uint8(0)
        store(cells, i + _HALF_BYTES, kept)
        store(cells, i, np.uint8(0))


@inlined
def _read(cells: np.ndarray, wide_cells: np.ndarray, wide: Int, at: Int) -> Int:
    return np.int64(load(wide_cells, at)) if wide else np.int64(load(cells, at))


@inlined
def _least(
    cells: np.ndarray,
    wide_cells: np.ndarray,
    wide: Int,
    a: Int,
    b: Int,
    c: Int,
    d: Int,
) -> Int:
    least = _read(cells, wide_cells, wide, a)
    for at in (b, c, d):
        cell = _read(cells, wide_cells, wide, at)
        if cell < least:
            least = cell
    return least


@inlined
def _raise_to(cells: np.ndarray, wide_cells: np.ndarray, wide: Int, at: Int, value: Int) -> None:
    if _read(cells, wide_cells, wide, at) < value:
        if wide:
            store(wide_cells, at, np.uint16(value))
        else:
            store(cells, at, np.uint8(value))


@inlined
def _places(mixed: np.uint64, line: Int, wide: Int) -> tuple[Int, Int, Int, Int]:
    """The fid's cells of this period in its line; those of the last are half a line further."""
    group = _WIDE_GROUP if wide else _NARROW_GROUP
    at = (line * LINE_BYTES + _HEADER_BYTES) // (2 if wide else 1)
    choice = np.int64(mixed >> _SHIFT_32)
    a = at + (((choice & _BYTE_MASK) * group) >> _BYTE)
    b = at + group + ((((choice >> _BYTE) & _BYTE_MASK) * group) >> _BYTE)
    c = at + 2 * group + ((((choice >> 2 * _BYTE) & _BYTE_MASK) * group) >> _BYTE)
    d = at + 3 * group + ((((choice >> 3 * _BYTE) & _BYTE_MASK) * group) >> _BYTE)
    return a, b, c, d


@kernel
def sketch_count(
    fid: np.uint64,
    cells: np.ndarray,
    wide_cells: np.ndarray,
    periods: np.ndarray,
    clock: np.ndarray,
) -> Int:
    """How often a fid occurred in this period and the last, as it stands: nothing is written."""
    mixed = mix64(fid ^ _APART)
    line = np.int64(mixed & _LOW_32) & load(clock, LINE_MASK)
    behind = load(clock, PERIOD) - load(periods, line * (LINE_BYTES // 8))
    if behind > 1:
        return np.int64(0)
    wide = load(clock, WIDE)
    half = _HALF_BYTES // (2 if wide else 1)
    a, b, c, d = _places(mixed, line, wide)
    count = _least(cells, wide_cells, wide, a, b, c, d)
    if behind == 0:  # else these cells are the last period's, and there are none of this one
        count += _least(cells, wide_cells, wide, a + half, b + half, c + half, d + half)
    return count


@inlined
def sketch_add(
    fid: np.uint64,
    count: Int,
    cells: np.ndarray,
    wide_cells: np.ndarray,
    periods: np.ndarray,
    clock: np.ndarray,
    changed: np.ndarray,
) -> Int:
    """Count `count` >= 1 occurrences of a fid; how often it occurred lately, these included."""
    if load(clock, KEYS) >= load(clock, KEY_LIMIT):
        _turn(clock)
    mixed = mix64(fid ^ _APART)
    line = np.int64(mixed & _LOW_32) & load(clock, LINE_MASK)
    _catch_up(cells, periods, line, load(clock, PERIOD))
    word = line >> _WORD_BITS
    store(changed, word, load(changed, word) | (np.uint64(1) << np.uint64(line & _BIT_MASK)))

    wide = load(clock, WIDE)
    ceiling = WIDE_CEILING if wide else NARROW_CEILING
    half = _HALF_BYTES // (2 if wide else 1)
    a, b, c, d = _places(mixed, line, wide)

    before = _least(cells, wide_cells, wide, a, b, c, d)
    last = _least(cells, wide_cells, wide, a + half, b + half, c + half, d + half)
    value = before + count
    if value > ceiling:
        value = np.int64(ceiling)
    _raise_to(cells, wide_cells, wide, a, value)
    _raise_to(cells, wide_cells, wide, b, value)
    _raise_to(cells, wide_cells, wide, c, value)
    _raise_to(cells, wide_cells, wide, d, value)
    if before == 0:
        store(clock, KEYS, load(clock, KEYS) + 1)
    return value + last
