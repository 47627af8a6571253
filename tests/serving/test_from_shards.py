"""Real shards, a real log, a replica that follows: what is read equals what the shards hold."""

from __future__ import annotations

import numpy as np
import pytest

from ps.blocklog import BlockLog
from ps.buckets import bucket_of, dense_owner, even_shard_map
from ps.client import RoutingClient
from ps.clock import ManualClock
from ps.dense import DenseSpec
from ps.initializers import Initializer
from ps.messages import RowGradients
from ps.optimizers import Sgd
from ps.shard import Shard, ShardSpec
from ps.stream import Span
from ps.table.spec import SlotPolicy, TableSpec
from serving.follower import Follower
from serving.replica import Replica
from serving.table_store import TableStore

SHARDS = 3
SEED = 11
EVERY = np.arange(400, dtype=np.uint64)
SPEC = TableSpec(
    "rows", 4, Sgd(learning_rate=0.1), Initializer("uniform", 0.1), (SlotPolicy(0, ttl_s=40),)
)


def _shards() -> list[Shard]:
    dense = DenseSpec("bias", (3,), Sgd(learning_rate=0.1), init_scale=0.5)
    owner = dense_owner("bias", even_shard_map(SHARDS))
    shards = []
    for number in range(SHARDS):
        spec = ShardSpec("m", (SPEC,), (dense,) if number == owner else (), number, SEED)
        shards.append(Shard(spec))
    return shards


def _push(client: RoutingClient, step: int, rng: np.random.Generator) -> None:
    fids = np.sort(rng.choice(EVERY, size=60, replace=False))
    grads = rng.normal(size=(len(fids), 4)).astype(np.float32)
    counts = np.ones(len(fids), dtype=np.uint32)
    client.push(
        Span("clicks", step, step + 1),
        event_ts_us=step * 5_000_000,
        rows={"rows": RowGradients(fids, grads, counts)},
        dense={"bias": rng.normal(size=3).astype(np.float32)},
    )


@pytest.mark.parametrize("max_blocks", [600, SHARDS])
def test_a_replica_that_follows_reads_what_the_shards_hold(max_blocks: int) -> None:
    """With a log of one block a shard, the replica falls behind and starts over from bases."""
    rng = np.random.default_rng(SEED)
    shards = _shards()
    client = RoutingClient(shards)
    log = BlockLog(max_blocks=max_blocks, base=lambda shard: shards[shard].export(sealed_us=0))
    shard_map = even_shard_map(SHARDS)
    replica = Replica(
        "m",
        {"rows": lambda: TableStore(SPEC, seed=SEED)},
        ManualClock(),
        shards=SHARDS,
        owner=lambda fids: shard_map[bucket_of(fids)],
        dense=["bias"],
    )
    follower = Follower(replica, log)
    for step in range(60):
        _push(client, step, rng)
        if step % 4 == 3:
            for shard in shards:
                log.append(shard.seal(sealed_us=step))
        if step % 12 == 11:
            follower.catch_up()
            reading = replica.read({"rows": EVERY})
            np.testing.assert_array_equal(
                reading.rows["rows"], client.pull({"rows": EVERY})["rows"]
            )
            np.testing.assert_array_equal(reading.dense["bias"], client.pull_dense()["bias"])
    rows = sum(shard.stats().tables["rows"].rows for shard in shards)
    assert replica.status().rows == rows
    assert sum(shard.stats().tables["rows"].rows_expired for shard in shards) > 0
    assert (follower.status().bases_read > SHARDS) == (max_blocks == SHARDS)
