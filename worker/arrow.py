"""The few Arrow operations whose published types are wrong or missing, typed once here."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, cast

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from ps.arrays import I32, Bool

    ArrowArray = pa.Array[Any]


def readable(data: bytes) -> IO[Any]:
    """Bytes as a file that Arrow reads without copying."""
    return cast("IO[Any]", pa.BufferReader(data))


def arrow_array(values: npt.NDArray[np.generic]) -> ArrowArray:
    """A one-dimensional array of numbers; contiguous values are shared, not copied."""
    return cast("ArrowArray", pa.array(cast("Any", values)))


def list_array(offsets: I32, values: npt.NDArray[np.generic]) -> ArrowArray:
    """Lists: element i holds values[offsets[i]:offsets[i + 1]]; offsets: int32[n + 1]."""
    arrays = cast("Any", (pa.array(cast("Any", offsets)), pa.array(cast("Any", values))))
    return cast("ArrowArray", pa.ListArray.from_arrays(*arrays))


def where(batch: pa.RecordBatch, mask: Bool) -> pa.RecordBatch:
    """The rows for which mask, bool[batch.num_rows], holds."""
    return batch.filter(cast("pa.BooleanArray", arrow_array(mask)))


def one_batch(table: pa.Table) -> pa.RecordBatch:
    """A table's rows as a single record batch."""
    batches = table.combine_chunks().to_batches()
    if not batches:
        return pa.RecordBatch.from_pylist([], schema=table.schema)
    return batches[0]


def concatenated(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch out of at least one of equal schema; a single one is handed back as it is."""
    return batches[0] if len(batches) == 1 else one_batch(pa.Table.from_batches(list(batches)))
