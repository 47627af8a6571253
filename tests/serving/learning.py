"""The model of tests.serving.world on shards that learn, for replicas that follow them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ps.buckets import dense_owner, even_shard_map
from ps.client import RoutingClient
from ps.dense import DenseSpec
from ps.messages import RowGradients
from ps.optimizers import Sgd
from ps.shard_spec import ShardSpec
from ps.stream import Span
from tests.serving.world import DIM, MODEL, NOW_US, SEED, TABLE, TABLE_SPEC, fids_of, make_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ps.shard import Shard

EVERY = fids_of(60)


def make_specs(shards: int) -> list[ShardSpec]:
    """What each of so many shards holds."""
    shard_map = even_shard_map(shards)
    dense = [
        DenseSpec(name, tuple(wanted.shape), Sgd(learning_rate=0.01), init_scale=0.1)
        for name, wanted in make_model().dense_shapes().items()
    ]
    return [
        ShardSpec(
            MODEL,
            (TABLE_SPEC,),
            tuple(spec for spec in dense if dense_owner(spec.name, shard_map) == number),
            number,
            SEED,
        )
        for number in range(shards)
    ]


def learn(shards: Sequence[Shard], step: int) -> None:
    """One batch, made from the step's number alone."""
    rng = np.random.default_rng(step)
    fids = np.sort(rng.choice(EVERY, 40, replace=False))
    grads = rng.normal(size=(40, 1 + DIM)).astype(np.float32)
    dense = {
        name: rng.normal(size=tuple(wanted.shape)).astype(np.float32)
        for name, wanted in make_model().dense_shapes().items()
    }
    RoutingClient(list(shards)).push(
        Span("p", step, step + 1),
        event_ts_us=NOW_US + step * 1_000_000,
        rows={TABLE: RowGradients(fids, grads, np.ones(40, dtype=np.uint32))},
        dense=dense,
    )
