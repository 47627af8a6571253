"""A replica as the shards' specifications ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ps.buckets import bucket_of, even_shard_map
from serving.replica import Replica
from serving.table_store import TableStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ps.arrays import I64, U64
    from ps.clock import Clock
    from ps.shard_spec import ShardSpec
    from ps.table import TableSpec
    from serving.store import StoreFactory


def replica_of(specs: Sequence[ShardSpec], clock: Clock) -> Replica:
    """An empty replica of these shards, one specification for each."""
    return Replica(
        specs[0].model,
        stores_of(specs),
        clock,
        shards=len(specs),
        owner=owner_of(len(specs)),
        dense=[variable.name for spec in specs for variable in spec.dense],
    )


def stores_of(specs: Sequence[ShardSpec]) -> dict[str, StoreFactory]:
    """By table, what makes the store of one of these shards: its capacity goes by their number."""
    tables: dict[str, TableSpec] = {table.name: table for s in specs for table in s.tables}
    seed = specs[0].seed
    return {name: lambda spec=spec: TableStore(spec, seed=seed) for name, spec in tables.items()}


def owner_of(shards: int) -> Callable[[U64], I64]:
    """fids uint64[n] -> the number of the shard that has each, int64[n]."""
    shard_map = even_shard_map(shards)

    def owner(fids: U64) -> I64:
        return shard_map[bucket_of(fids)].astype(np.int64)

    return owner
