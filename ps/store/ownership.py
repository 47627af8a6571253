"""Which buckets, and so which fids, are whose among so many shards: ps.buckets without the kernels."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from ps.errors import SpecError
from ps.store.rows import BUCKETS, buckets_of

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
    if not 1 <= shards <= BUCKETS:
        raise SpecError(f"{shards} shards cannot share {BUCKETS:,} buckets; set 1 to {BUCKETS:,}")
    edges = [-(-shard * BUCKETS // shards) for shard in range(shards + 1)]
    return [BucketRange(first, end) for first, end in pairwise(edges)]


def by_owner(fids: Mapping[str, U64], shards: int) -> list[dict[str, U64]]:
    """fids by table (uint64[n]), split among the shards of an even map, by number. Raises SpecError."""
    ranges = bucket_ranges(shards)
    parts: list[dict[str, U64]] = [{} for _ in ranges]
    for name, of_table in fids.items():
        buckets = buckets_of(of_table)
        for own, part in zip(ranges, parts, strict=True):
            part[name] = of_table[(buckets >= own.first) & (buckets < own.end)]
    return parts
