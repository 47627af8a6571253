"""A shard with several tables and dense variables, and pushes for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ps.dense import DenseSpec
from ps.initializers import Initializer
from ps.messages import Push, RowGradients
from ps.optimizers import AdaGrad, Adam, FtrlProximal
from ps.shard import Shard, ShardSpec
from ps.stream import Span
from ps.table import SlotPolicy, TableSpec

if TYPE_CHECKING:
    from ps.arrays import F32

SPEC = ShardSpec(
    model="m",
    tables=(
        TableSpec("linear", 1, FtrlProximal(l1=0.1), capacity_rows=500),
        TableSpec(
            "factors",
            6,
            AdaGrad(),
            Initializer("normal", 0.1, 1),
            slots=(SlotPolicy(1, ttl_s=5),),
            capacity_rows=500,
        ),
    ),
    dense=(
        DenseSpec("w", (3, 2), Adam(), init_scale=0.3),
        DenseSpec("b", (4,), AdaGrad()),
    ),
    seed=9,
)


def make(generation: int = 0, spec: ShardSpec = SPEC) -> Shard:
    return Shard(spec, generation=generation)


def make_rows(rng: np.random.Generator, width: int, size: int = 30) -> RowGradients:
    fids = rng.choice(120, size, replace=False).astype(np.uint64)
    fids |= rng.integers(0, 2, size, dtype=np.uint64) << np.uint64(48)
    grads: F32 = rng.standard_normal((size, width), dtype=np.float32)
    return RowGradients(fids, grads, rng.integers(1, 5, size).astype(np.uint32))


def make_push(
    seed: int, begin: int, end: int, *, partition: str = "p", generation: int = 0
) -> Push:
    """A push whose content depends on its position and the seed alone."""
    rng = np.random.default_rng((seed, begin))
    return Push(
        Span(partition, begin, end),
        event_ts_us=begin * 1_000_000,
        ingest_us=begin + 5,
        generation=generation,
        rows={"linear": make_rows(rng, 1), "factors": make_rows(rng, 6)},
        dense={
            "w": rng.standard_normal((3, 2), dtype=np.float32),
            "b": rng.standard_normal(4, dtype=np.float32),
        },
    )
