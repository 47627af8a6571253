"""A commit: one restore point, complete in itself: what to read, in which order, and what it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ps.block import Cursor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.store.description import ModelDescription
    from ps.stream import Positions

# Per partition, the offset ranges [begin, end) that are left out wherever the stream is read again.
Skips = dict[str, tuple[tuple[int, int], ...]]


@dataclass(frozen=True, slots=True)
class ShardChain:
    """How one shard is restored: its base, then its blocks in order.

    base: None: from nothing. blocks: the cursors of the blocks after it, oldest first; the last is
    the restore point's own (or the base is, and there are none). positions: the shard's, at the end.
    """

    shard: int
    base: Cursor | None
    blocks: tuple[Cursor, ...]
    positions: Positions = field(default_factory=dict)

    @property
    def cursor(self) -> Cursor:
        """Where the shard stands once restored; (0, 0) where nothing was ever sealed."""
        if self.blocks:
            return self.blocks[-1]
        return self.base or Cursor(0, 0)


@dataclass(frozen=True, slots=True)
class Commit:
    """A restore point. Immutable; written after everything it names.

    at: its own cursor; epochs rise from commit to commit, whatever happens. model: the fingerprint in
    the blocks' headers since the last change of the job. description: what tables and dense variables
    there are. shards: one chain for each shard, by number; the shard map is even. event_ts_us: the
    event clock. ingest_us: wall time at which the oldest example of the epoch was read, if any.
    bytes_written: of the blocks of this epoch. rows: alive, by table, over all shards. aligned:
    whether all shards stand at the same positions. skips: ranges of the stream that were rolled back.
    worker: the state of whoever reads the stream, opaque here (metrics, guard, counts).
    """

    at: Cursor
    model: str
    description: ModelDescription
    shards: tuple[ShardChain, ...]
    positions: Positions
    event_ts_us: int
    created_us: int
    ingest_us: int | None = None
    bytes_written: int = 0
    rows: Mapping[str, int] = field(default_factory=dict)
    aligned: bool = True
    skips: Skips = field(default_factory=dict)
    worker: bytes = b""
