"""Real shards behind the routing client: any number of them learns the same rows, bit for bit."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.buckets import dense_owner, even_shard_map
from ps.client import RoutingClient
from ps.dense import DenseSpec
from ps.initializers import Initializer
from ps.messages import RowGradients
from ps.optimizers import AdaGrad, Adam, FtrlProximal
from ps.shard import Shard, ShardSpec
from ps.stream import Span
from ps.table import TableSpec

TABLES = (
    TableSpec("linear", 1, FtrlProximal(l1=0.1), capacity_rows=2_000),
    TableSpec("factors", 9, AdaGrad(), Initializer("normal", 0.1, 1), capacity_rows=2_000),
)
DENSE = tuple(DenseSpec(f"layer.{i}", (3, 2), Adam(), init_scale=0.3) for i in range(4))


def make_client(shards: int) -> RoutingClient:
    owners = even_shard_map(shards)
    return RoutingClient(
        [
            Shard(
                ShardSpec(
                    model="m",
                    tables=TABLES,
                    dense=tuple(s for s in DENSE if dense_owner(s.name, owners) == number),
                    shard=number,
                    seed=5,
                )
            )
            for number in range(shards)
        ]
    )


@given(shards=st.integers(2, 5), seed=st.integers(0, 2**32 - 1), steps=st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_any_number_of_shards_learns_as_one(shards: int, seed: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    one, many = make_client(1), make_client(shards)
    everything = {table.name: rng.permutation(np.arange(300, dtype=np.uint64)) for table in TABLES}
    for step in range(steps):
        rows = {}
        for table in TABLES:
            fids = rng.choice(300, int(rng.integers(0, 80)), replace=False).astype(np.uint64)
            rows[table.name] = RowGradients(
                fids,
                rng.standard_normal((len(fids), table.width), dtype=np.float32),
                np.ones(len(fids), np.uint32),
            )
        dense = {spec.name: rng.standard_normal((3, 2), dtype=np.float32) for spec in DENSE}
        receipts = [
            client.push(Span("p", step, step + 1), event_ts_us=step, rows=rows, dense=dense)
            for client in (one, many)
        ]
        assert receipts[0] == receipts[1]
    expected, found = one.pull(everything), many.pull(everything)
    assert all(found[name].tobytes() == expected[name].tobytes() for name in expected)
    expected, found = one.pull_dense(), many.pull_dense()
    assert expected.keys() == found.keys()
    assert all(found[name].tobytes() == expected[name].tobytes() for name in expected)
