"""The collisionless index: two-choice lines of ten tags, grown one line at a time.

A line is 64 bytes: tags uint16[10] (0 is an empty place), rows uint32[10], 4 bytes unused. A key
lives in one of two lines. The number of lines grows by linear hashing (Litwin 1980): line
n is split off line n - 2^L, so growing costs the same little at every insert, moves no row, and
never stalls. Keys are not in the index; where a move must know one, it is read from its row.

Keys can be made to share both lines at any size one likes. Those that more lines do not part end in
the stash, a list of row numbers behind the lines: it is searched from end to end, and empty unless
somebody means harm.

counters: int64[COUNTERS], the table's small state (see the constants). keys: uint64 view of the rows,
`key_stride` apart.
"""

from __future__ import annotations

import numpy as np

from ps.arrays import Int
from ps.kernels.hashing import mix64
from ps.kernels.intrinsics import load, lowest_bit, match_tags, prefetch_line, store
from ps.kernels.jit import inlined
from ps.kernels.layout import HasRows

PLACES = 10  # tags and rows that fit one 64-byte line
TAGS_PER_LINE = 32  # uint16 from one line to the next
ROWS_PER_LINE = 16  # uint32 from one line to the next
ROWS_AT = 5  # uint32 before the first row number
ANY_PLACE = (1 << PLACES) - 1

N_LINES = 0  # counters[N_LINES]: lines in use
LOW_MASK = 1  # 2^L - 1, where 2^L <= lines < 2^(L + 1)
LIVE = 2  # rows that hold a key
NEXT_ROW = 3  # rows ever used; the next one when none is free
FREE_HEAD = 4  # a freed row, first of a list through the rows, or -1
KICKS = 5  # entries moved to make room, since the table was made
HELD_TAG = 6  # an entry between two places
HELD_ROW = 7
HAND = 8  # the row that expiry or eviction looks at next
REMOVED = 9  # fids in the list of removals
ADMITTED = 10  # rows made by pushes
REFUSED = 11  # occurrences turned away by admission
EXPIRED = 12
EVICTED = 13
STASHED = 14  # rows in the stash
STASH_AT = 15  # where in rows the stash begins
CLOCK_S = 16  # event time: the largest this table has seen
PENDING = 17  # rows of the last cut that have not been copied out yet
CUT_AT = 18  # the word of the cut that gathering looks at next
COUNTERS = 19

_EMPTY = np.uint16(0)
_LOW_32 = np.uint64(0xFFFFFFFF)
_SHIFT_32 = np.uint64(32)
_SECOND = np.uint64(0x9E3779B97F4A7C15)
_TAG_MASK = np.uint64(0xFFFF)
# Entries per line at which the index grows, in 1/256: 10 places filled to about 0.86.
_SPLIT_LOAD_256 = 2202
_MAX_KICKS = 512
FIRST_LINES = 16
# Lines beyond what the load asks for, that keys without a place may force.
_FORCED_LINES = 64


def _most_lines(n_rows: Int) -> Int:
    return FIRST_LINES + n_rows * 256 // _SPLIT_LOAD_256 + n_rows // 100 + _FORCED_LINES


_line_limit = inlined(_most_lines)


def index_bytes(capacity_rows: int) -> tuple[int, int]:
    """Bytes to reserve for a table that may hold capacity_rows, and where in rows its stash begins."""
    stash_at = int(_most_lines(capacity_rows)) * ROWS_PER_LINE
    return (stash_at + capacity_rows) * 4, stash_at


def lines_for(rows: int) -> tuple[int, int]:
    """(N_LINES, LOW_MASK) of an index that takes so many rows without growing."""
    lines = max(FIRST_LINES, -(-rows * 256 // _SPLIT_LOAD_256))
    return lines, (1 << (lines.bit_length() - 1)) - 1


@inlined
def tag_of(mixed: np.uint64) -> np.uint16:
    """The 16 bits by which a line's places are told apart; never 0."""
    tag = (mixed >> _SHIFT_32) & _TAG_MASK
    return np.uint16(max(tag, np.uint64(1)))


@inlined
def first_bits(mixed: np.uint64) -> Int:
    """The hash bits that choose the line a key prefers."""
    return np.int64(mixed & _LOW_32)


@inlined
def second_bits(mixed: np.uint64) -> Int:
    """The hash bits that choose the line a key goes to when its first is full."""
    return np.int64((mixed * _SECOND) >> _SHIFT_32)


@inlined
def address(bits: Int, low: Int, lines: Int) -> Int:
    """The line that hash bits stand for (Litwin 1980); low: counters[LOW_MASK]."""
    line = bits & (2 * low + 1)
    return line if line < lines else bits & low


@inlined
def first_line(mixed: np.uint64, t: HasRows) -> Int:
    """The line a key prefers."""
    return address(first_bits(mixed), load(t.counters, LOW_MASK), load(t.counters, N_LINES))


@inlined
def second_line(mixed: np.uint64, t: HasRows) -> Int:
    """The line a key goes to when its first is full."""
    return address(second_bits(mixed), load(t.counters, LOW_MASK), load(t.counters, N_LINES))


@inlined
def row_at(t: HasRows, line: Int, place: Int) -> Int:
    """The row number at a place of a line."""
    return np.int64(load(t.rows, line * ROWS_PER_LINE + ROWS_AT + place))


@inlined
def _find_in_line(
    t: HasRows,
    key_stride: Int,
    line: Int,
    tag: np.uint16,
    fid: np.uint64,
) -> Int:
    """The place of fid in the line, or -1."""
    mask = match_tags(t.tags, line * TAGS_PER_LINE, tag) & ANY_PLACE
    while mask != 0:
        place: Int = lowest_bit(mask)
        if load(t.keys, row_at(t, line, place) * key_stride) == fid:
            return place
        mask &= mask - 1
    return -1


@inlined
def _find_in_lines(
    t: HasRows, key_stride: Int, fid: np.uint64, mixed: np.uint64
) -> tuple[Int, Int]:
    """(line, place) of fid in either of its lines; place is -1 where it is in neither."""
    tag = tag_of(mixed)
    line = first_line(mixed, t)
    place = _find_in_line(t, key_stride, line, tag, fid)
    if place < 0:
        line = second_line(mixed, t)
        place = _find_in_line(t, key_stride, line, tag, fid)
    return line, place


@inlined
def _find_in_stash(t: HasRows, key_stride: Int, fid: np.uint64) -> Int:
    """Where in rows the stash holds fid, or -1."""
    at = load(t.counters, STASH_AT)
    for i in range(at, at + load(t.counters, STASHED)):
        if load(t.keys, np.int64(load(t.rows, i)) * key_stride) == fid:
            return i
    return -1


@inlined
def find(
    t: HasRows,
    key_stride: Int,
    fid: np.uint64,
    mixed: np.uint64,
) -> Int:
    """The row that holds fid, or -1. No group tricks: for single keys and rare paths."""
    line, place = _find_in_lines(t, key_stride, fid, mixed)
    if place < 0 and load(t.counters, STASHED) > 0:
        at = _find_in_stash(t, key_stride, fid)
        return np.int64(load(t.rows, at)) if at >= 0 else np.int64(-1)
    return row_at(t, line, place) if place >= 0 else np.int64(-1)


@inlined
def _put(
    t: HasRows,
    line: Int,
    place: Int,
    tag: np.uint16,
    row: Int,
) -> None:
    store(t.tags, line * TAGS_PER_LINE + place, tag)
    store(t.rows, line * ROWS_PER_LINE + ROWS_AT + place, np.uint32(row))


@inlined
def _empty_place(t: HasRows, line: Int) -> Int:
    mask = match_tags(t.tags, line * TAGS_PER_LINE, _EMPTY) & ANY_PLACE
    return lowest_bit(mask) if mask != 0 else np.int64(-1)


@inlined
def _other_line(mixed: np.uint64, line: Int, t: HasRows) -> Int:
    first = first_line(mixed, t)
    return second_line(mixed, t) if first == line else first


@inlined
def _kick(
    t: HasRows,
    key_stride: Int,
    line: Int,
    tag: np.uint16,
    row: Int,
) -> bool:
    """Place an entry in a full line by moving others to their other lines; False where it cannot.

    Each step looks one move ahead from all ten places before it displaces one and follows it.
    On False one entry (not always the one given) is left in t.counters[HELD_TAG], [HELD_ROW].
    """
    place: Int
    for step in range(_MAX_KICKS):
        for place in range(PLACES):
            prefetch_line(t.keys, row_at(t, line, place) * key_stride)
        for place in range(PLACES):
            moved = row_at(t, line, place)
            other = _other_line(mix64(load(t.keys, moved * key_stride)), line, t)
            free = _empty_place(t, other) if other != line else np.int64(-1)
            if free >= 0:
                _put(t, other, free, load(t.tags, line * TAGS_PER_LINE + place), moved)
                _put(t, line, place, tag, row)
                t.counters[KICKS] += 1
                return True
        # All neighbours are full: take a place (a different one each step) and go on with its entry.
        place = np.int64((line + step) % PLACES)
        victim = row_at(t, line, place)
        victim_tag = load(t.tags, line * TAGS_PER_LINE + place)
        _put(t, line, place, tag, row)
        t.counters[KICKS] += 1
        tag, row = victim_tag, victim
        line = _other_line(mix64(load(t.keys, row * key_stride)), line, t)
        free = _empty_place(t, line)
        if free >= 0:
            _put(t, line, free, tag, row)
            return True
    t.counters[HELD_TAG] = np.int64(tag)
    t.counters[HELD_ROW] = row
    return False


@inlined
def _split_one_line(
    t: HasRows,
    key_stride: Int,
) -> None:
    """Add line n, and give it what line n - 2^L holds and n now should."""
    new = t.counters[N_LINES]
    if new > 2 * t.counters[LOW_MASK] + 1:
        t.counters[LOW_MASK] = 2 * t.counters[LOW_MASK] + 1
    source = new - (t.counters[LOW_MASK] + 1)
    t.counters[N_LINES] = new + 1
    for place in range(PLACES):
        if load(t.tags, source * TAGS_PER_LINE + place) != _EMPTY:
            prefetch_line(t.keys, row_at(t, source, place) * key_stride)
    free = np.int64(0)
    for place in range(PLACES):
        tag = load(t.tags, source * TAGS_PER_LINE + place)
        if tag != _EMPTY:
            row = row_at(t, source, place)
            mixed = mix64(load(t.keys, row * key_stride))
            first = first_line(mixed, t)
            if first == new or (first != source and second_line(mixed, t) == new):
                _put(t, new, free, tag, row)
                store(t.tags, source * TAGS_PER_LINE + place, _EMPTY)
                free += 1


@inlined
def insert(
    t: HasRows,
    key_stride: Int,
    mixed: np.uint64,
    row: Int,
) -> None:
    """Enter a key that is not there; its row already holds it. Grows as needed, cannot fail.

    The index has room reserved for every row the table may have, in its lines or in its stash.
    """
    while (t.counters[LIVE] + 1) * 256 > t.counters[N_LINES] * _SPLIT_LOAD_256:
        _split_one_line(t, key_stride)
    t.counters[LIVE] += 1
    tag = tag_of(mixed)
    while True:
        line = first_line(mixed, t)
        free = _empty_place(t, line)
        if free < 0:
            line = second_line(mixed, t)
            free = _empty_place(t, line)
        if free >= 0:
            _put(t, line, free, tag, row)
            return
        if _kick(t, key_stride, line, tag, row):
            return
        tag = np.uint16(t.counters[HELD_TAG])
        row = t.counters[HELD_ROW]
        if t.counters[N_LINES] >= _line_limit(t.counters[LIVE]):
            store(t.rows, t.counters[STASH_AT] + t.counters[STASHED], np.uint32(row))
            t.counters[STASHED] += 1
            return
        # More lines, then the entry left over; seen only at sizes of a few lines.
        _split_one_line(t, key_stride)
        mixed = mix64(load(t.keys, row * key_stride))


@inlined
def remove(
    t: HasRows,
    key_stride: Int,
    fid: np.uint64,
    mixed: np.uint64,
) -> Int:
    """Take fid out of the index; the row it had, or -1. The row itself is not touched."""
    line, place = _find_in_lines(t, key_stride, fid, mixed)
    if place < 0:
        at = _find_in_stash(t, key_stride, fid)
        if at < 0:
            return np.int64(-1)
        row = np.int64(load(t.rows, at))
        t.counters[STASHED] -= 1
        store(t.rows, at, load(t.rows, t.counters[STASH_AT] + t.counters[STASHED]))
        t.counters[LIVE] -= 1
        return row
    store(t.tags, line * TAGS_PER_LINE + place, _EMPTY)
    t.counters[LIVE] -= 1
    return row_at(t, line, place)
