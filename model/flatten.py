"""A batch as one run of fids, example after example, for learning one example at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model.kernels.interleave import interleave

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model.batch import Batch, FidColumn
    from model.features import FidField
    from ps.arrays import F32, I64, U64


def flatten(batch: Batch, fields: Sequence[FidField]) -> tuple[U64, I64, F32 | None]:
    """(fids, offsets, values): example i has fids[offsets[i]:offsets[i + 1]], field by field.

    fids: uint64[m]. offsets: int64[size + 1]. values: float32[m], what each fid's weight counts for
    (1 / k for each of k values pooled by their mean); None where all count for 1.
    """
    columns = [batch.columns[field.name] for field in fields]
    if all(column.offsets is None for column in columns):
        whole = [np.ascontiguousarray(column.fids) for column in columns]
        addresses = np.array([fids.ctypes.data for fids in whole], dtype=np.int64)
        fids = np.empty(batch.size * len(whole), dtype=np.uint64)
        interleave(addresses, batch.size, fids)
        return fids, np.arange(batch.size + 1, dtype=np.int64) * len(columns), None
    lengths = np.stack([_lengths(column, batch.size) for column in columns], axis=1)
    # Where each field of each example begins.
    begins = np.zeros(lengths.size + 1, dtype=np.int64)
    np.cumsum(lengths.reshape(-1), out=begins[1:])
    fids = np.empty(begins[-1], dtype=np.uint64)
    values: F32 = np.ones(begins[-1], dtype=np.float32)
    for number, (field, column) in enumerate(zip(fields, columns, strict=True)):
        starts = begins[number : lengths.size : len(columns)]
        mine = lengths[:, number]
        first = np.repeat(np.cumsum(mine) - mine, mine)
        at = np.repeat(starts, mine) + np.arange(column.fids.size) - first
        fids[at] = column.fids
        if field.pooling == "mean":
            values[at] = np.repeat(1.0 / np.maximum(mine, 1), mine)
    return fids, begins[:: len(columns)].copy(), values


def _lengths(column: FidColumn, size: int) -> I64:
    if column.offsets is None:
        return np.ones(size, dtype=np.int64)
    lengths: I64 = np.diff(column.offsets)
    return lengths
