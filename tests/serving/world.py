"""A small model with real features, its rows, and servers for it: what the serving tests stand on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model.features import (
    Bucketised,
    Categorical,
    Cross,
    FeatureSpec,
    HourOfDay,
    MultiValued,
    Numeric,
)
from model.models.registry import build_model
from ps.block import Block, DenseDelta, TableDelta
from ps.clock import ManualClock
from ps.initializers import Initializer
from ps.optimizers import Sgd
from ps.table.spec import TableSpec
from ps.table.table import Table
from serving.predictor import Predictor
from serving.replica import Replica
from serving.server import PredictServer
from serving.table_store import TableStore

if TYPE_CHECKING:
    from model.model import Model
    from ps.arrays import U64
    from serving.config import ServingConfig

MODEL = "clicks"
TABLE = "embedding"
DIM = 4
SEED = 7
NOW_US = 1_700_000_000_000_000

SPEC = FeatureSpec(
    (
        Categorical("user", "user_id", 1),
        Categorical("country", "country", 2),
        Categorical("item", "item_id", 3),
        MultiValued("tags", "tags", 4),
        MultiValued("words", "title", 5, separator=" ", pooling="mean"),
        Bucketised("price_bucket", "price", 6, buckets="log2"),
        Numeric("age", "age", missing=30.0, scale=50.0),
        Numeric("position", "position"),
        HourOfDay("hour", 7),
        Cross("user_item", ("user", "item"), 8),
    )
)

TABLE_SPEC = TableSpec(
    TABLE, 1 + DIM, Sgd(learning_rate=0.1), Initializer("normal", 0.1, leading_zeros=1)
)


def make_model() -> Model:
    return build_model("deepfm", SPEC.layout, {"dim": DIM, "hidden": [8]})


def fids_of(count: int) -> U64:
    """Fids of the first few users and items."""
    low = np.arange(count, dtype=np.uint64)
    return np.concatenate([low | np.uint64(slot << 48) for slot in (1, 3)])


def block(epoch: int, *, base: bool = False, scale: float = 1.0) -> Block:
    """A block with rows for users and items 0 to 49, and every dense variable."""
    rng = np.random.default_rng(epoch)
    fids = fids_of(50)
    weights = (scale * rng.normal(size=(len(fids), 1 + DIM))).astype(np.float32)
    return Block(
        model=MODEL,
        shard=0,
        generation=0,
        epoch=epoch,
        base=base,
        event_ts_us=NOW_US,
        sealed_us=NOW_US,
        ingest_us=NOW_US - 500_000,
        positions={},
        tables={
            TABLE: TableDelta(
                fids,
                np.zeros(len(fids), dtype=np.uint32),
                weights,
                np.zeros((len(fids), 0), dtype=np.float32),
                np.zeros(0, dtype=np.uint64),
            )
        },
        dense={
            name: DenseDelta(
                rng.normal(size=wanted.shape).astype(np.float32), np.zeros(0, dtype=np.float32)
            )
            for name, wanted in make_model().dense_shapes().items()
        },
        filters={},
    )


@dataclass(frozen=True)
class World:
    """One replica and what reads it."""

    clock: ManualClock
    replica: Replica
    predictor: Predictor

    def server(self, config: ServingConfig | None = None) -> PredictServer:
        return PredictServer(self.predictor, self.clock, config)


def make_world(*, ready: bool = True) -> World:
    clock = ManualClock(NOW_US + 1_000_000)
    replica = Replica(
        MODEL,
        {TABLE: lambda: TableStore(TABLE_SPEC, seed=SEED)},
        clock,
        dense=make_model().dense_shapes(),
    )
    if ready:
        replica.apply(block(1))
    return World(clock, replica, Predictor(SPEC, make_model, replica, clock))


def trainers_table() -> Table:
    """A table as the trainer has it, with the rows of block 1."""
    table = Table(TABLE_SPEC, seed=SEED)
    delta = block(1).tables[TABLE]
    state = np.zeros((len(delta.fids), TABLE_SPEC.state_width), dtype=np.float32)
    table.upsert(delta.fids, delta.weights, state, delta.last_seen_s)
    return table
