"""A block: what one epoch changed in one shard, immutable and in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.arrays import F32, U8, U32, U64
    from ps.stream import Positions


class Cursor(NamedTuple):
    """How far a reader has come in one shard's blocks. Epochs of a shard only ever rise; the
    generation tells two attempts at the same epoch apart.
    """

    epoch: int
    generation: int


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
class FilterDelta:
    """The lines of one table's admission filter that an epoch wrote (ps.kernels.sketch).

    wide, total_lines: what the filter was configured to; period to now_s: its clock. lines:
    uint32[n] ascending; cells: uint8[n, 64], each line in full. In a base: every line that still
    counts, all others being empty.
    """

    wide: bool
    total_lines: int
    period: int
    keys: int
    period_start_s: int
    now_s: int
    lines: U32
    cells: U8


@dataclass(frozen=True, slots=True)
class TableTally:
    """What happened in one table since the model began: carried on by whoever restores it."""

    rows_admitted: int = 0
    rows_expired: int = 0
    rows_evicted: int = 0
    occurrences_refused: int = 0


@dataclass(frozen=True, slots=True)
class Block:
    """One sealed epoch of one shard, or (base) its whole state as of that epoch.

    after: the cursor an ordinary block is applied at; None: the epoch before, of its own generation.
    It says otherwise where a shard was promoted, restored or taken back, and where several epochs
    were merged into one block. event_ts_us is the shard's event clock; sealed_us the wall time of
    sealing; ingest_us the wall time at which the oldest example in the block was read from the
    stream, None where the epoch learned nothing. positions: per partition, the first offset not
    applied; owners: per partition, the generation of the worker that moved it last. filters: by
    table, for tables with a filter that counts.
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
    filters: Mapping[str, FilterDelta]
    after: Cursor | None = None
    owners: Mapping[str, int] = field(default_factory=dict)
    tallies: Mapping[str, TableTally] = field(default_factory=dict)
    pushes_applied: int = 0
    pushes_repeated: int = 0

    @property
    def cursor(self) -> Cursor:
        """Where a reader stands once it has applied this block."""
        return Cursor(self.epoch, self.generation)

    @property
    def follows(self) -> Cursor:
        """Where a reader must stand to apply it, if it is no base."""
        return self.after or Cursor(self.epoch - 1, self.generation)
