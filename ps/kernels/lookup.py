"""Finding the rows of many fids at once: three stages, a group of fids apart, so that the memory
each stage needs has arrived by the time it runs.

Stage 1 hashes and asks for the first index line; stage 2 matches tags and asks for the record, or
for the second line; stage 3 does the same in the second line. A fourth, in pull and push, verifies
the key in the record and uses it.

mixed: uint64[RING], found: int64[RING], the scratch of one call.
"""

from __future__ import annotations

import numpy as np

from ps.arrays import I64, U64, Int
from ps.kernels.hashing import mix64
from ps.kernels.index import (
    ANY_PLACE,
    TAGS_PER_LINE,
    find,
    first_line,
    row_at,
    second_line,
    tag_of,
)
from ps.kernels.intrinsics import load, lowest_bit, match_tags, prefetch_line, store
from ps.kernels.jit import inlined
from ps.kernels.layout import TableArrays

# Fids between two stages: enough misses in flight to fill the second-level cache's queue.
GROUP = 32
# Scratch entries: the four groups under way, in a ring.
RING = 4 * GROUP
_WRAP = RING - 1
STAGES = 4
_WORDS_PER_LINE = 16


@inlined
def _match_in_line(t: TableArrays, stride: Int, reach: Int, mixed: np.uint64, line: Int) -> Int:
    """The row whose tag matches first in the line, its record asked for; -1 where none does."""
    mask = match_tags(t.tags, line * TAGS_PER_LINE, tag_of(mixed)) & ANY_PLACE
    if mask == 0:
        return -1
    row = row_at(t, line, lowest_bit(mask))
    for word in range(0, reach, _WORDS_PER_LINE):
        prefetch_line(t.words, row * stride + word)
    # A row does not begin on a line: its last word may stand on one more. (Its last two share one.)
    if (reach - 1) % _WORDS_PER_LINE > 1:
        prefetch_line(t.words, row * stride + reach - 1)
    return row


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
    for i in range(begin, end):
        bits = load(mixed, i & _WRAP)
        row = _match_in_line(t, stride, reach, bits, first_line(bits, t))
        store(found, i & _WRAP, row)
        if row < 0:
            prefetch_line(t.tags, second_line(bits, t) * TAGS_PER_LINE)


@inlined
def _match_second_lines(
    t: TableArrays, stride: Int, reach: Int, begin: Int, end: Int, mixed: U64, found: I64
) -> None:
    for i in range(begin, end):
        if load(found, i & _WRAP) < 0:
            bits = load(mixed, i & _WRAP)
            store(found, i & _WRAP, _match_in_line(t, stride, reach, bits, second_line(bits, t)))


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
        begin = (group - 2) * GROUP
        _match_second_lines(t, stride, reach, begin, min(n, begin + GROUP), mixed, found)


@inlined
def verified_row(t: TableArrays, key_stride: Int, fids: U64, i: Int, mixed: U64, found: I64) -> Int:
    """The row of fids[i], or -1, after its stages have run. Another key may share line and tag."""
    row: Int = load(found, i & _WRAP)
    if row >= 0 and load(t.keys, row * key_stride) != load(fids, i):
        row = find(t, key_stride, load(fids, i), load(mixed, i & _WRAP))
    return row
