"""Sealing without a pause: the rows an epoch touched are frozen at once and copied out bit by bit.

Freezing moves the marks of the touched rows to the cut. From then on a row that is to change, or to
be freed, and has not been copied yet is copied first: so what comes out is what the rows held at the
cut, whatever happens meanwhile. Every row has its place in the columns from the start, in the order
of rows, so that the outcome does not show who copied it, or when.

For every 64 rows the cut holds CUT_WIDTH words, side by side: FROZEN, a bit for every row of the cut;
WAITING, for those not copied yet; PLACE, where the first of them goes.
"""

from __future__ import annotations

import numpy as np

from ps.arrays import U64, Int
from ps.kernels.index import CUT_AT, NEXT_ROW, PENDING
from ps.kernels.intrinsics import count_bits, load, lowest_bit, prefetch_line, store
from ps.kernels.jit import kernel
from ps.kernels.layout import CUT_WIDTH, FROZEN, PLACE, WAITING, RowLayout, TableArrays
from ps.kernels.lookup import prefetch_rest
from ps.kernels.rows import copy_out, place_in_cut

_WORD_BITS = 64
_NONE = np.uint64(0)
_ONE = np.uint64(1)
# Rows asked for ahead of the one that is copied.
_AHEAD = 16


@kernel
def freeze(t: TableArrays) -> None:
    """Cut: the rows touched so far are to be copied to t.out_fids and its fellows, which have room; none is touched now.

    All rows of the cut before have been copied.
    """
    place = np.int64(0)
    for word in range((t.counters[NEXT_ROW] + _WORD_BITS - 1) // _WORD_BITS):
        marks = load(t.touched, word)
        if marks != _NONE:
            store(t.touched, word, _NONE)
            at = word * CUT_WIDTH
            store(t.cut, at + FROZEN, marks)
            store(t.cut, at + WAITING, marks)
            store(t.cut, at + PLACE, np.uint64(place))
            place += count_bits(marks)
    t.counters[PENDING] = place
    t.counters[CUT_AT] = 0


@kernel
def gather(t: TableArrays, layout: RowLayout, budget_rows: Int) -> None:
    """Copy up to budget_rows more rows of the cut out, in the order of rows."""
    n_words = (t.counters[NEXT_ROW] + _WORD_BITS - 1) // _WORD_BITS
    at = t.counters[CUT_AT]
    waiting = load(t.cut, at * CUT_WIDTH + WAITING)
    ahead_at, ahead = at, waiting
    todo = min(budget_rows, t.counters[PENDING])
    for i in range(-_AHEAD, todo):
        while ahead == _NONE and ahead_at + 1 < n_words:
            ahead_at += 1
            ahead = load(t.cut, ahead_at * CUT_WIDTH + WAITING)
        if ahead != _NONE:
            row = ahead_at * _WORD_BITS + lowest_bit(np.int64(ahead))
            ahead &= ahead - _ONE
            prefetch_line(t.words, row * layout.stride)
            prefetch_rest(t, layout.stride, layout.stride, row)
        if i >= 0:
            while waiting == _NONE:
                at += 1
                waiting = load(t.cut, at * CUT_WIDTH + WAITING)
            row = at * _WORD_BITS + lowest_bit(np.int64(waiting))
            waiting &= waiting - _ONE
            store(t.cut, at * CUT_WIDTH + WAITING, waiting)
            copy_out(t, layout, row, place_in_cut(t, row))
    t.counters[CUT_AT] = at
    t.counters[PENDING] -= todo


@kernel
def gather_marked(t: TableArrays, layout: RowLayout, marks: U64) -> None:
    """Copy the rows whose bits are set in marks to t.out_fids and its fellows, which have room, in the order of rows."""
    place = np.int64(0)
    for at in range((t.counters[NEXT_ROW] + _WORD_BITS - 1) // _WORD_BITS):
        word = load(marks, at)
        while word != _NONE:
            copy_out(t, layout, at * _WORD_BITS + lowest_bit(np.int64(word)), place)
            word &= word - _ONE
            place += 1
