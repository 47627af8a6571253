"""The arrays of one table, and where things stand in a row, as kernels see them.

A row is one record of `stride` float32 words: key (2 words) | weights | optimizer state |
last_seen_s | epoch, padded to a whole number of keys. Key and weights stand side by side, so that a
pull of 16 floats always reads two cache lines and never three.

Where rows expire, a pull must also know when a row was last seen: there it is key | last_seen_s |
epoch | weights | optimizer state.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ps.arrays import F32, I64, U16, U32, U64

_KEY_WORDS = 2

# The epoch of a row that holds no key; its key then is the next free row.
FREE_EPOCH = np.uint32(0xFFFFFFFF)


class TableArrays(NamedTuple):
    """The memory of one table. words, meta and keys are three views of the same rows."""

    words: F32
    meta: U32
    keys: U64
    tags: U16
    rows: U32
    counters: I64
    touched: U64


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
