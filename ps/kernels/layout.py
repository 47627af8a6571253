"""The arrays of one table, and where things stand in a row, as kernels see them.

A row is one record of `stride` float32 words: key (2 words) | weights | optimizer state |
last_seen_s | epoch, padded to a whole number of keys. Key and weights stand side by side, so that a
pull of 16 floats always reads two cache lines and never three.

Where rows expire, a pull must also know when a row was last seen: there it is key | last_seen_s |
epoch | weights | optimizer state.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from ps.arrays import F32, I64, U16, U32, U64

_KEY_WORDS = 2

# Words of the cut, side by side for every 64 rows (ps.kernels.cut).
FROZEN = 0  # a bit for every row of the cut
WAITING = 1  # a bit for every one not copied yet
PLACE = 2  # where the first of them goes
CUT_WIDTH = 3

# The epoch of a row that holds no key; its key then is the next free row.
FREE_EPOCH = np.uint32(0xFFFFFFFF)


class HasRows(Protocol):
    """What it takes to find and read rows: ReadArrays have it, and TableArrays."""

    @property
    def words(self) -> F32: ...
    @property
    def meta(self) -> U32: ...
    @property
    def keys(self) -> U64: ...
    @property
    def tags(self) -> U16: ...
    @property
    def rows(self) -> U32: ...
    @property
    def counters(self) -> I64: ...


class ReadArrays(NamedTuple):
    """The memory of one table, to those who only read: every array costs a call a little time."""

    words: F32
    meta: U32
    keys: U64
    tags: U16
    rows: U32
    counters: I64


class TableArrays(NamedTuple):
    """The memory of one table. words, meta and keys are three views of the same rows.

    touched: a bit for every row that changed in this epoch. cut: CUT_WIDTH words for every 64 rows,
    about the epoch that is being sealed (ps.kernels.cut). The rest are n rows copied out, each column
    for itself: out_fids uint64[n], out_seen_s uint32[n], out_weights float32[n * width], out_state
    float32[n * state_width].
    """

    words: F32
    meta: U32
    keys: U64
    tags: U16
    rows: U32
    counters: I64
    touched: U64
    cut: U64
    out_fids: U64
    out_seen_s: U32
    out_weights: F32
    out_state: F32


class RowLayout(NamedTuple):
    """Word offsets within a row."""

    stride: int
    width: int
    weights_at: int
    state_at: int
    state_width: int
    last_seen_at: int
    epoch_at: int


def row_layout(width: int, state_width: int, *, expires: bool = False) -> RowLayout:
    """The layout for rows of `width` weights and `state_width` floats of optimizer state."""
    last_seen_at = _KEY_WORDS if expires else _KEY_WORDS + width + state_width
    weights_at = _KEY_WORDS + 2 if expires else _KEY_WORDS
    words = _KEY_WORDS + width + state_width + 2
    return RowLayout(
        stride=words + words % 2,
        width=width,
        weights_at=weights_at,
        state_at=weights_at + width,
        state_width=state_width,
        last_seen_at=last_seen_at,
        epoch_at=last_seen_at + 1,
    )
