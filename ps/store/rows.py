"""Rows that lie in no table: their buckets, and picking some of them, without the kernels.

Compiled kernels take half a second to load, which a command that looks at one row has not got.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ps.block import TableDelta

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ps.arrays import I64, U16, U64, Bool

BUCKETS = 1024  # as ps.kernels.routing has it; a test holds the two together

_BUCKET_SHIFT = np.uint64(54)
_SHIFT = np.uint64(33)
_MULTIPLY_1 = np.uint64(0xFF51AFD7ED558CCD)
_MULTIPLY_2 = np.uint64(0xC4CEB9FE1A85EC53)


def mix64(fids: U64) -> U64:
    """ps.kernels.hashing.mix64 of every fid: uint64[n] -> uint64[n]."""
    mixed = fids ^ (fids >> _SHIFT)
    mixed *= _MULTIPLY_1
    mixed ^= mixed >> _SHIFT
    mixed *= _MULTIPLY_2
    mixed ^= mixed >> _SHIFT
    return mixed


def buckets_of(fids: U64) -> U16:
    """The bucket of every fid: uint64[n] -> uint16[n]."""
    return (mix64(fids) >> _BUCKET_SHIFT).astype(np.uint16)


def no_rows(width: int, state_width: int, room: int = 0) -> TableDelta:
    """Nothing, of that shape; or room for so many rows, unwritten."""
    return TableDelta(
        fids=np.empty(room, np.uint64),
        last_seen_s=np.empty(room, np.uint32),
        weights=np.empty((room, width), np.float32),
        state=np.empty((room, state_width), np.float32),
        removed=np.empty(0, np.uint64),
    )


def first_rows(rows: TableDelta, n: int) -> TableDelta:
    """The first n rows, as views."""
    return TableDelta(
        rows.fids[:n], rows.last_seen_s[:n], rows.weights[:n], rows.state[:n], rows.removed
    )


def pick(rows: TableDelta, places: I64 | Bool, removed: I64 | Bool) -> TableDelta:
    """Copies of the rows at `places` and of the removals at `removed`: numbers or a mask of bool."""
    return TableDelta(
        fids=rows.fids[places],
        last_seen_s=rows.last_seen_s[places],
        weights=rows.weights[places],
        state=rows.state[places],
        removed=rows.removed[removed],
    )


def in_buckets(rows: TableDelta, first_bucket: int, end_bucket: int) -> TableDelta:
    """The rows and removals of buckets [first_bucket, end_bucket); `rows` itself where it is all."""
    if first_bucket <= 0 and end_bucket >= BUCKETS:
        return rows
    inside, removed = (
        (buckets >= first_bucket) & (buckets < end_bucket)
        for buckets in (buckets_of(rows.fids), buckets_of(rows.removed))
    )
    if inside.all() and removed.all():
        return rows
    return pick(rows, inside, removed)


def newest(changes: Sequence[TableDelta]) -> TableDelta:
    """What changes in order amount to, as one: of every fid the newest row, or that it was removed.

    The rows are in order of their fids, and so are the removals. Raises ShapeError where the
    changes are of different shapes.
    """
    fids = np.concatenate([part for c in changes for part in (c.removed, c.fids)])
    # Where each entry's row is in the rows one after another; -1: removed.
    row_at = np.full(fids.size, -1, dtype=np.int64)
    at = rows = 0
    for change in changes:
        at += change.removed.size
        row_at[at : at + change.fids.size] = np.arange(rows, rows + change.fids.size)
        at += change.fids.size
        rows += change.fids.size
    order = np.argsort(fids, kind="stable")
    ordered = fids[order]
    last = np.ones(fids.size, dtype=np.bool_)
    last[:-1] = ordered[1:] != ordered[:-1]
    chosen = order[last]
    kept = row_at[chosen]
    places = kept[kept >= 0]
    return TableDelta(
        fids=fids[chosen[kept >= 0]],
        last_seen_s=np.concatenate([c.last_seen_s for c in changes])[places],
        weights=np.concatenate([c.weights for c in changes])[places],
        state=np.concatenate([c.state for c in changes])[places],
        removed=fids[chosen[kept < 0]],
    )
