"""A small job for the tests of what learns: features, chunks of raw columns, batches and shards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from model.assemble import ExampleSpec
from model.event_time import EventTimeSpec
from model.features import Categorical, FeatureSpec, MultiValued, Numeric
from model.labels import LabelSpec
from model.models.registry import build_model
from ps.client import RoutingClient
from ps.clock import ManualClock
from ps.dense import DenseSpec
from ps.initializers import Initializer
from ps.optimizers import AdaGrad
from ps.shard import Shard, ShardSpec
from ps.stream import Span
from ps.table import TableSpec
from worker.events import EventChunk
from worker.preparation import Prepared, prepare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model.model import Model

FEATURES = FeatureSpec(
    (
        Categorical("user", "user", 1),
        Categorical("item", "item", 2),
        MultiValued("tags", "tags", 3, pooling="mean"),
        Numeric("age", "age", missing=0.0),
    )
)
EXAMPLES = ExampleSpec(FEATURES, LabelSpec("click"), EventTimeSpec("ts", "us"))
TABLE = "embedding"


def chunk(begin: int, end: int, *, seed: int = 1, age: float | None = None) -> EventChunk:
    """Records [begin, end) of a stream: what each says depends on its offset and the seed alone."""
    rows = [np.random.default_rng((seed, offset)) for offset in range(begin, end)]
    columns = pa.RecordBatch.from_pydict(
        {
            "user": pa.array([int(r.integers(0, 20)) for r in rows], pa.int64()),
            "item": pa.array([int(r.integers(0, 50)) for r in rows], pa.int64()),
            "tags": pa.array(
                [r.integers(0, 9, int(r.integers(0, 4))).tolist() for r in rows],
                pa.list_(pa.int64()),
            ),
            "age": pa.array(
                [float(r.normal()) if age is None else age for r in rows], pa.float64()
            ),
            "click": pa.array([int(r.integers(0, 2)) for r in rows], pa.int64()),
            "ts": pa.array([offset * 1_000_000 for offset in range(begin, end)], pa.int64()),
        }
    )
    return EventChunk(Span("p", begin, end), np.arange(begin, end), columns)


def prepared(*chunks: EventChunk) -> list[Prepared]:
    return list(prepare(chunks, EXAMPLES, None, ManualClock(77)))


def make_model(kind: str = "logistic") -> Model:
    options = {"dim": 4} if kind == "fm" else {}
    return build_model(kind, FEATURES.layout, options)


def make_shard(kind: str = "logistic", capacity_rows: int = 1_000) -> Shard:
    model = make_model(kind)
    initializer = Initializer() if kind == "logistic" else Initializer("normal", 0.1, 1)
    return Shard(
        ShardSpec(
            "m",
            (
                TableSpec(
                    TABLE, model.row_width, AdaGrad(0.1), initializer, capacity_rows=capacity_rows
                ),
            ),
            tuple(
                DenseSpec(name, s.shape, AdaGrad(0.1)) for name, s in model.dense_shapes().items()
            ),
        )
    )


def client_of(shards: Sequence[Shard]) -> RoutingClient:
    return RoutingClient(shards)
