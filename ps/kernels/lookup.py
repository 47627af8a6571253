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
    PLACES,
    STASHED,
    TAGS_PER_LINE,
    find,
    first_line,
    row_at,
    second_line,
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
from ps.kernels.layout import TableArrays

# Fids between two stages: enough misses in flight to fill the second-level cache's queue.
GROUP = 32
# Scratch entries: the four groups under way, in a ring.
RING = 4 * GROUP
_WRAP = RING - 1
# Behind the ring in found: two lists of fids pending for their second lines, and their lengths.
_PENDING_AT = RING
_PENDING_COUNT = RING + 2 * GROUP
FOUND = RING + 2 * GROUP + 2
_NO_PLACE = 1 << PLACES
STAGES = 4
_WORDS_PER_LINE = 16


@inlined
def _prefetch_rest(t: TableArrays, stride: Int, reach: Int, row: Int) -> None:
    """Ask for the lines of a record after its first."""
    for word in range(_WORDS_PER_LINE, reach, _WORDS_PER_LINE):
        prefetch_line(t.words, row * stride + word)
    # A row does not begin on a line: its last word may stand on one more. (Its last two share one.)
    if reach > _WORDS_PER_LINE and (reach - 1) % _WORDS_PER_LINE > 1:
        prefetch_line(t.words, row * stride + reach - 1)


@inlined
def _hash_group(t: TableArrays, fids: U64, begin: Int, end: Int, mixed: U64) -> None:
    for i in range(begin, end):
        bits = mix64(load(fids, i))
        store(mixed, i & _WRAP, bits)
        prefetch_line(t.tags, first_line(bits, t) * TAGS_PER_LINE)


@inlined
def _match_first_lines(
    t: TableArrays, stride: Int, reach: Int, begin: Int, end: Int, mixed: U64, found: I64
) -> None:
    """Stage 2. Which fids are not in their first line no processor can foresee: so, no branches."""
    half = (begin // GROUP) & 1
    pending_at = _PENDING_AT + half * GROUP
    pending = np.int64(0)
    for i in range(begin, end):
        bits = load(mixed, i & _WRAP)
        line = first_line(bits, t)
        mask = match_tags(t.tags, line * TAGS_PER_LINE, tag_of(bits)) & ANY_PLACE
        hit = mask != 0
        # Without a match, the place after the last: 4 unused bytes, always 0.
        row = row_at(t, line, lowest_bit(mask | _NO_PLACE))
        second = second_line(bits, t) * TAGS_PER_LINE
        prefetch_either(hit, t.words, row * stride, t.tags, second)
        _prefetch_rest(t, stride, reach, row)
        store(found, i & _WRAP, row if hit else np.int64(-1))
        store(found, pending_at + pending, np.int64(i))
        pending += not hit
    store(found, _PENDING_COUNT + half, pending)


@inlined
def _match_second_lines(
    t: TableArrays, stride: Int, reach: Int, begin: Int, mixed: U64, found: I64
) -> None:
    """Stage 3, for those that stage 2 left pending."""
    half = (begin // GROUP) & 1
    pending_at = _PENDING_AT + half * GROUP
    for at in range(pending_at, pending_at + load(found, _PENDING_COUNT + half)):
        i = load(found, at)
        bits = load(mixed, i & _WRAP)
        line = second_line(bits, t)
        mask = match_tags(t.tags, line * TAGS_PER_LINE, tag_of(bits)) & ANY_PLACE
        if mask != 0:
            row = row_at(t, line, lowest_bit(mask))
            prefetch_line(t.words, row * stride)
            _prefetch_rest(t, stride, reach, row)
            store(found, i & _WRAP, row)


@inlined
def advance(
    t: TableArrays,
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
        _hash_group(t, fids, group * GROUP, min(n, (group + 1) * GROUP), mixed)
    if 1 <= group <= groups:
        _match_first_lines(
            t, stride, reach, (group - 1) * GROUP, min(n, group * GROUP), mixed, found
        )
    if 2 <= group <= groups + 1:
        _match_second_lines(t, stride, reach, (group - 2) * GROUP, mixed, found)


@inlined
def verified_row(t: TableArrays, key_stride: Int, fids: U64, i: Int, mixed: U64, found: I64) -> Int:
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
