"""From fids to shards: buckets, and a batch's fids grouped by the shard that owns them."""

from __future__ import annotations

import numpy as np

from ps.kernels.hashing import mix64
from ps.kernels.intrinsics import load, store
from ps.kernels.jit import inlined, kernel

BUCKETS = 1024
# 64 bits less the ten that make a bucket
_BUCKET_SHIFT = np.uint64(54)


@inlined
def bucket_of_fid(fid: np.uint64) -> np.int64:
    """The fid's bucket: the top ten bits of its mix, which the index and the tags leave alone."""
    return np.int64(mix64(fid) >> _BUCKET_SHIFT)


@kernel
def fill_buckets(fids: np.ndarray, buckets: np.ndarray) -> None:
    """buckets[i], uint16, of fids[i], uint64."""
    for i in range(fids.shape[0]):
        store(buckets, i, np.uint16(bucket_of_fid(load(fids, i))))


@kernel
def group_by_shard(
    fids: np.ndarray,
    shard_map: np.ndarray,
    order: np.ndarray,
    grouped: np.ndarray,
    starts: np.ndarray,
) -> None:
    """Sort a batch by owner, keeping the order within one shard.

    fids: uint64[n]. shard_map: uint16[BUCKETS]. Writes order: int64[n], the place in fids of the
    i-th grouped fid; grouped: uint64[n]; starts: int64[shards + 2], zeros before, after it shard s
    has grouped[starts[s]:starts[s + 1]].
    """
    n = fids.shape[0]
    # Counts are kept two places on, so that filling moves starts[s + 1] from s's start to its end.
    for i in range(n):
        shard = np.int64(load(shard_map, bucket_of_fid(load(fids, i))))
        starts[shard + 2] += 1
    for place in range(2, starts.shape[0]):
        starts[place] += starts[place - 1]
    for i in range(n):
        fid = load(fids, i)
        shard = np.int64(load(shard_map, bucket_of_fid(fid)))
        at = starts[shard + 1]
        starts[shard + 1] = at + 1
        store(order, at, np.int64(i))
        store(grouped, at, fid)
