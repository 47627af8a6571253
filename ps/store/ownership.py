"""Which buckets, and so which fids, are whose among so many shards."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ps.buckets import even_shard_map
from ps.store.rows import buckets_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.arrays import U64


class BucketRange(NamedTuple):
    """Buckets [first, end)."""

    first: int
    end: int

    def touches(self, other: BucketRange) -> bool:
        """Whether they have a bucket in common."""
        return self.first < other.end and other.first < self.end


def bucket_ranges(shards: int) -> list[BucketRange]:
    """The buckets of every shard of an even map, by number. Raises SpecError."""
    edges = np.searchsorted(even_shard_map(shards), np.arange(shards + 1)).tolist()
    return [BucketRange(first, end) for first, end in pairwise(edges)]


def by_owner(fids: Mapping[str, U64], shards: int) -> list[dict[str, U64]]:
    """fids by table (uint64[n]), split among the shards of an even map, by number. Raises SpecError."""
    owners = even_shard_map(shards)
    parts: list[dict[str, U64]] = [{} for _ in range(shards)]
    for name, of_table in fids.items():
        owner = owners[buckets_of(of_table)]
        for shard, part in enumerate(parts):
            part[name] = of_table[owner == shard]
    return parts
