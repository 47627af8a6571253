"""Finding the rows of many fids at once: three stages, a group of fids apart, so that the memory
each stage needs has arrived by the time it runs.

Stage 1 hashes and asks for the first index line; stage 2 matches tags and asks for the record, or
for the second line; stage 3 does the same in the second line. A fourth, in pull and push, verifies
the key in the record and uses it.

mixed: uint64[RING], found: int64[FOUND], the scratch of one call.
"""

from __future__ import annotations

import numpy as np

from ps.arrays import I64, U64, Int
from ps.kernels.hashing import mix64
from ps.kernels.index import (
    ANY_PLACE,
    LOW_MASK,
    N_LINES,
    PLACES,
    ROWS_AT,
    STASHED,
    TAGS_PER_LINE,
    address,
    find,
    first_bits,
    second_bits,
    tag_of,
)
from ps.kernels.intrinsics import (
    load,
    lowest_bit,
    match_tags,
    prefetch_either,
    prefetch_line,
    store,
)
from ps.kernels.jit import inlined
from ps.kernels.layout import HasRows

# Fids between two stages: enough misses in flight to fill the second-level cache's queue.
GROUP = 32
# Scratch entries: the four groups under way, in a ring.
RING = 4 * GROUP
_WRAP = RING - 1
# In found: the ring of row numbers, then those of first and second lines (where their tags begin),
# then two lists of entries pending for their second lines, and the lengths of these.
_FIRST_AT = RING
_SECOND_AT = 2 * RING
_PENDING_AT = 3 * RING
_PENDING_COUNT = _PENDING_AT + 2 * GROUP
FOUND = _PENDING_COUNT + 2
_NO_PLACE = 1 << PLACES
STAGES = 4
_WORDS_PER_LINE = 16


@inlined
def prefetch_rest(t: HasRows, stride: Int, reach: Int, row: Int) -> None:
    """Ask for the lines of a record after its first."""
    for word in range(_WORDS_PER_LINE, reach, _WORDS_PER_LINE):
        prefetch_line(t.words, row * stride + word)
    # A row does not begin on a line: its last word may stand on one more. (Its last two share one.)
    if reach > _WORDS_PER_LINE and (reach - 1) % _WORDS_PER_LINE > 1:
        prefetch_line(t.words, row * stride + reach - 1)


@inlined
def _hash_group(t: HasRows, fids: U64, begin: Int, end: Int, mixed: U64, found: I64) -> None:
    """Stage 1. The first loop has nothing but arithmetic in it, so it runs eight fids at a time."""
    at = begin & _WRAP
    low = load(t.counters, LOW_MASK)
    lines = load(t.counters, N_LINES)
    for k in range(end - begin):
        bits = mix64(load(fids, begin + k))
        store(mixed, at + k, bits)
        store(found, _FIRST_AT + at + k, address(first_bits(bits), low, lines) * TAGS_PER_LINE)
        store(found, _SECOND_AT + at + k, address(second_bits(bits), low, lines) * TAGS_PER_LINE)
    for k in range(at, at + end - begin):
        prefetch_line(t.tags, load(found, _FIRST_AT + k))


@inlined
def _match_first_lines(
    t: HasRows, stride: Int, reach: Int, begin: Int, end: Int, mixed: U64, found: I64
) -> None:
    """Stage 2. Which fids are not in their first line no processor can foresee: so, no branches."""
    half = (begin // GROUP) & 1
    pending_at = _PENDING_AT + half * GROUP
    pending = np.int64(0)
    at = begin & _WRAP
    for k in range(at, at + end - begin):
        line = load(found, _FIRST_AT + k)
        mask = match_tags(t.tags, line, tag_of(load(mixed, k))) & ANY_PLACE
        hit = mask != 0
        # Without a match, the place after the last: 4 unused bytes, always 0.
        row = np.int64(load(t.rows, line // 2 + ROWS_AT + lowest_bit(mask | _NO_PLACE)))
        prefetch_either(hit, t.words, row * stride, t.tags, load(found, _SECOND_AT + k))
        prefetch_rest(t, stride, reach, row)
        store(found, k, row if hit else np.int64(-1))
        store(found, pending_at + pending, np.int64(k))
        pending += not hit
    store(found, _PENDING_COUNT + half, pending)


@inlined
def _match_second_lines(
    t: HasRows, stride: Int, reach: Int, begin: Int, mixed: U64, found: I64
) -> None:
    """Stage 3, for those that stage 2 left pending."""
    half = (begin // GROUP) & 1
    pending_at = _PENDING_AT + half * GROUP
    for at in range(pending_at, pending_at + load(found, _PENDING_COUNT + half)):
        k = load(found, at)
        line = load(found, _SECOND_AT + k)
        mask = match_tags(t.tags, line, tag_of(load(mixed, k))) & ANY_PLACE
        if mask != 0:
            row = np.int64(load(t.rows, line // 2 + ROWS_AT + lowest_bit(mask)))
            prefetch_line(t.words, row * stride)
            prefetch_rest(t, stride, reach, row)
            store(found, k, row)


@inlined
def advance(
    t: HasRows,
    stride: Int,
    reach: Int,
    fids: U64,
    group: Int,
    groups: Int,
    mixed: U64,
    found: I64,
) -> None:
    """Run the three stages for step `group`; group - 3 is then ready to be used.

    reach: words of a record that will be used, from its key on.
    """
    n = fids.shape[0]
    if group < groups:
        _hash_group(t, fids, group * GROUP, min(n, (group + 1) * GROUP), mixed, found)
    if 1 <= group <= groups:
        _match_first_lines(
            t, stride, reach, (group - 1) * GROUP, min(n, group * GROUP), mixed, found
        )
    if 2 <= group <= groups + 1:
        _match_second_lines(t, stride, reach, (group - 2) * GROUP, mixed, found)


@inlined
def verified_row(t: HasRows, key_stride: Int, fids: U64, i: Int, mixed: U64, found: I64) -> Int:
    """The row of fids[i], or -1, after its stages have run. Another key may share line and tag."""
    row: Int = load(found, i & _WRAP)
    # Another key's tag, or perhaps one of the stash.
    elsewhere = (
        load(t.keys, row * key_stride) != load(fids, i)
        if row >= 0
        else load(t.counters, STASHED) > 0
    )
    if elsewhere:
        row = find(t, key_stride, load(fids, i), load(mixed, i & _WRAP))
    return row
