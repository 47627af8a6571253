"""What crosses the border of a shard: pushes, receipts, statistics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.arrays import F32, I64, U32, U64
    from ps.stream import Span


@dataclass(frozen=True, slots=True)
class RowGradients:
    """Summed gradients for the unique fids of one table in one batch.

    fids: uint64[n], unique. grads: float32[n, width], C-contiguous. counts: uint32[n], how often
    each fid occurred in the batch. The arrays belong to the push; nobody writes to them after.
    """

    fids: U64
    grads: F32
    counts: U32


@dataclass(frozen=True, slots=True)
class Push:
    """Everything one batch asks of one shard; applied whole or not at all.

    span: where in the stream the batch came from. generation: of the sender's ownership of that
    partition. event_ts_us: the largest event time in the batch. ingest_us: wall time at which the
    batch's oldest example was read from the stream (what staleness is measured from), if known.
    A shard that owns none of the batch's fids still gets the push, so that its position moves.
    """

    span: Span
    event_ts_us: int
    ingest_us: int | None = None
    generation: int = 0
    rows: Mapping[str, RowGradients] = field(default_factory=dict)
    dense: Mapping[str, F32] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pulled:
    """Rows by table, float32[n, width] in the order asked, and dense variables by name if asked for.

    The arrays belong to whoever pulled.
    """

    rows: Mapping[str, F32]
    dense: Mapping[str, F32] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LogisticExamples:
    """Examples that logistic regression learns from one after another, in one table.

    fids: uint64[m], the examples' one after another; offsets: int64[n + 1], where each begins.
    values: float32[m] by which the weights are multiplied, None where all are 1.
    distinct: no example has the same fid twice; what is known of the features, not looked for.
    inputs: float32[n, k] dense inputs of the variable `dense`, float32[1 + k], bias first.
    labels: float32[n] of 0 or 1. span to generation: as in Push.
    """

    span: Span
    event_ts_us: int
    ingest_us: int | None
    generation: int
    table: str
    dense: str
    fids: U64
    offsets: I64
    values: F32 | None
    inputs: F32
    labels: F32
    distinct: bool = False


@dataclass(frozen=True, slots=True)
class PushReceipt:
    """What a push did. applied is False where the position had been applied before."""

    applied: bool
    rows_created: int = 0
    rows_refused: int = 0


@dataclass(frozen=True, slots=True)
class TableStats:
    """Counts of one table since the shard was made."""

    rows: int
    rows_admitted: int
    rows_expired: int
    rows_evicted: int
    occurrences_refused: int
    allocated_bytes: int


@dataclass(frozen=True, slots=True)
class ShardStats:
    """A shard's state at a glance."""

    epoch: int
    generation: int
    event_ts_us: int
    pushes_applied: int
    pushes_repeated: int
    tables: Mapping[str, TableStats]
