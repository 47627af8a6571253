"""Buckets: the 1,024 hash ranges of fids by which shards own rows, and the map that says who."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xxhash

from ps.errors import SpecError
from ps.kernels.routing import BUCKETS, fill_buckets

if TYPE_CHECKING:
    from ps.arrays import U16, U64

MAX_SHARDS = BUCKETS


def bucket_of(fids: U64) -> U16:
    """The bucket of every fid: uint64[n] -> uint16[n] in [0, 1024), the top bits of its mix."""
    buckets = np.empty(fids.shape[0], dtype=np.uint16)
    fill_buckets(np.ascontiguousarray(fids), buckets)
    return buckets


def bucket_of_name(name: str) -> int:
    """The bucket of a dense variable, so that names are owned and moved as fids are."""
    fids = np.array([xxhash.xxh3_64_intdigest(name.encode())], dtype=np.uint64)
    return int(bucket_of(fids)[0])


def even_shard_map(shards: int) -> U16:
    """uint16[1024]: the shard of every bucket, in contiguous ranges that differ by one at most.

    Raises SpecError.
    """
    if not 1 <= shards <= MAX_SHARDS:
        raise SpecError(f"{shards} shards cannot share {BUCKETS:,} buckets; set 1 to {BUCKETS:,}")
    return (np.arange(BUCKETS) * shards // BUCKETS).astype(np.uint16)


def dense_owner(name: str, shard_map: U16) -> int:
    """The shard that holds a dense variable."""
    return int(shard_map[bucket_of_name(name)])
