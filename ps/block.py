"""A block: what one epoch changed in one shard, immutable and in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.arrays import F32, U32, U64
    from ps.stream import Positions


@dataclass(frozen=True, slots=True)
class TableDelta:
    """Rows of one table that an epoch touched, in full, and those that left.

    fids: uint64[n]; last_seen_s: uint32[n] event time; weights: float32[n, width];
    state: float32[n, state_width]; removed: uint64[m] fids that have no row any more. Apply removed
    first: a fid that left and came back within the epoch is in both.
    """

    fids: U64
    last_seen_s: U32
    weights: F32
    state: F32
    removed: U64


@dataclass(frozen=True, slots=True)
class DenseDelta:
    """A dense variable that moved, in full: weights float32[shape], state float32[k]."""

    weights: F32
    state: F32


@dataclass(frozen=True, slots=True)
class Block:
    """One sealed epoch of one shard, or (base) its whole state as of that epoch.

    An ordinary block of epoch e follows e - 1 of the same generation. event_ts_us is the shard's
    event clock; sealed_us the wall time of sealing; ingest_us the wall time at which the oldest
    example in the block was read from the stream, None where the epoch learned nothing.
    filters holds the admission filters' state, in base blocks (raw bytes by table).
    """

    model: str
    shard: int
    generation: int
    epoch: int
    base: bool
    event_ts_us: int
    sealed_us: int
    ingest_us: int | None
    positions: Positions
    tables: Mapping[str, TableDelta]
    dense: Mapping[str, DenseDelta]
    filters: Mapping[str, bytes]
