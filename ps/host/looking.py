"""Looking into the one shard that a host holds, for operators."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ps.admin import inspection
from ps.buckets import bucket_of, even_shard_map

if TYPE_CHECKING:
    from ps.admin.target import TableStatus
    from ps.host.held import HeldShard
    from ps.inspected import InspectedRow, InspectedSlot


def tables(held: HeldShard) -> list[TableStatus]:
    """See ShardPort."""
    return held.look(lambda shard: inspection.table_statuses([shard]))


def inspect_fid(held: HeldShard, fid: int, table: str | None) -> list[InspectedRow]:
    """See ShardPort; nothing where another shard owns the fid. Raises UnknownTableError, SpecError."""
    bucket = int(bucket_of(np.array([fid], dtype=np.uint64))[0])
    if int(even_shard_map(held.shards)[bucket]) != held.number:
        return []
    rows = held.look(lambda shard: inspection.inspect_fid([shard], fid, table))
    return [replace(row, shard=held.number) for row in rows]


def inspect_slot(held: HeldShard, slot: int, table: str | None, rows: int) -> list[InspectedSlot]:
    """See ShardPort. Raises UnknownTableError, SpecError."""
    found = held.look(lambda shard: inspection.inspect_slot([shard], slot, table, rows))
    return [
        replace(one, examples=[replace(row, shard=held.number) for row in one.examples])
        for one in found
    ]
