"""A batch: examples in columns, ids already fids, as trainer and predictor hand it to a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.arrays import F32, I64, U32, U64
    from ps.stream import Span


@dataclass(frozen=True, slots=True)
class FidColumn:
    """One categorical feature's fids for every example of a batch.

    fids: uint64[m]. offsets: int64[size + 1], example i has fids[offsets[i]:offsets[i + 1]]; None
    means exactly one each (m == size), the common case, kept fast.
    """

    fids: U64
    offsets: I64 | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples in columns.

    columns: by feature name, in the order of the FeatureSpec. dense: float32[size, dense_width].
    labels: float32[size] of 0 or 1, None when predicting. event_ts_us: int64[size].
    offsets: int64[size], each example's offset in its stream partition (positions of quarantined
    records are in span but not here). span and ingest_us are None when predicting.
    """

    size: int
    columns: Mapping[str, FidColumn]
    dense: F32
    event_ts_us: I64
    labels: F32 | None = None
    offsets: I64 | None = None
    span: Span | None = None
    ingest_us: int | None = None


@dataclass(frozen=True, slots=True)
class Lookup:
    """Which unique fids of one table a batch needs, and where each occurrence finds its row.

    fids: uint64[u], unique. counts: uint32[u], occurrences in the batch. inverse: by feature name,
    int64[m] aligned with that feature's FidColumn.fids, values in [0, u).
    """

    fids: U64
    counts: U32
    inverse: Mapping[str, I64]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a forward pass reads: the batch, its lookups, and the parameters pulled for it.

    lookups and rows are by table; rows[t]: float32[u, width]. dense: variables by name.
    """

    batch: Batch
    lookups: Mapping[str, Lookup]
    rows: Mapping[str, F32]
    dense: Mapping[str, F32]


@dataclass(frozen=True, slots=True)
class Gradients:
    """What a backward pass returns: rows summed over occurrences, aligned with Lookup.fids.

    rows[t]: float32[u, width]; dense[name]: the variable's shape, mean over the batch's examples.
    """

    rows: Mapping[str, F32]
    dense: Mapping[str, F32]
