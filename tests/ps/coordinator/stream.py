"""A stream whose every record has a few fids, and a model that counts them."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from ps.buckets import bucket_of, even_shard_map
from ps.messages import RowGradients
from ps.optimizers import Sgd
from ps.shard_spec import ShardSpec
from ps.stream import Span
from ps.table import TableSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ps.arrays import U64
    from ps.client import RoutingClient
    from ps.shard import Shard
    from ps.store.commit import Skips

FIDS = 40
TABLE = "counts"


def specs_for(shards: int) -> tuple[ShardSpec, ...]:
    """Weights that are minus the sum of gradients."""
    tables = (TableSpec(TABLE, 1, Sgd(learning_rate=1.0), capacity_rows=1_000),)
    return tuple(ShardSpec("counting", tables, shard=number) for number in range(shards))


def fids_of(partition: str, begin: int, end: int) -> U64:
    """The fids of some records: three each, in any order, with repeats."""
    offsets = np.arange(begin, end, dtype=np.uint64)
    seed = np.uint64(sum(partition.encode()))
    mixed = [(offsets * np.uint64(k) + seed) % np.uint64(FIDS) for k in (1, 7, 13)]
    return np.concatenate(mixed)


def owner(fid: int, shards: int) -> int:
    """The shard of a fid."""
    bucket = int(bucket_of(np.array([fid], dtype=np.uint64))[0])
    return int(even_shard_map(shards)[bucket])


def gradients(fids: U64) -> RowGradients:
    unique, counts = np.unique(fids, return_counts=True)
    return RowGradients(unique, -counts.astype(np.float32)[:, None], counts.astype(np.uint32))


def push(
    client: RoutingClient, partition: str, begin: int, end: int, generation: int, skips: Skips
) -> None:
    """Learn from [begin, end) but for what is left out of it."""
    left = np.ones(end - begin, dtype=bool)
    for first, last in skips.get(partition, ()):
        left[max(0, first - begin) : max(0, last - begin)] = False
    parts = [fids_of(partition, begin + i, begin + i + 1) for i in np.flatnonzero(left).tolist()]
    rows = {TABLE: gradients(np.concatenate(parts))} if parts else {}
    client.push(
        Span(partition, begin, end),
        event_ts_us=end * 1_000_000,
        rows=rows,
        dense={},
        generation=generation,
    )


def expected(read: Mapping[str, int], skips: Skips | None = None) -> dict[int, int]:
    """How often each fid occurs up to these positions, without what is left out."""
    total: Counter[int] = Counter()
    for partition, end in read.items():
        for offset in range(end):
            ranges = (skips or {}).get(partition, ())
            if not any(first <= offset < last for first, last in ranges):
                total.update(fids_of(partition, offset, offset + 1).tolist())
    return dict(total)


def counts_in(shards: Sequence[Shard]) -> dict[int, int]:
    """What shards have counted."""
    found: dict[int, int] = {}
    for shard in shards:
        rows = shard.table(TABLE).export()
        found.update(zip(rows.fids.tolist(), rows.weights[:, 0].astype(int).tolist(), strict=True))
    return {fid: n for fid, n in found.items() if n}


def state_of(examples: int, positions: Mapping[str, int]) -> bytes:
    """What a worker says of itself, to be merged."""
    return json.dumps({"examples": examples, "positions": dict(positions)}).encode()


def merged(states: Sequence[bytes]) -> bytes:
    examples, positions = 0, dict[str, int]()
    for one in map(json.loads, states):
        examples += one["examples"]
        for partition, at in one["positions"].items():
            positions[partition] = max(at, positions.get(partition, 0))
    return state_of(examples, positions)


def positions_in(state: bytes) -> dict[str, int]:
    return dict(json.loads(state)["positions"])


def examples_in(state: bytes) -> int:
    return int(json.loads(state)["examples"])
