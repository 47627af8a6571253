"""A DeepFM shard with its rows, and an endless stream of batches: ids drawn by popularity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model.batch import Batch, FidColumn
from model.features import Categorical, FeatureSpec, Numeric
from model.models import build_model
from ps.client import RoutingClient
from ps.dense import DenseSpec
from ps.initializers import Initializer
from ps.messages import RowGradients
from ps.optimizers import AdaGrad, Adam
from ps.shard import Shard, ShardSpec
from ps.stream import Span
from ps.table import TableSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model.model import Model
    from ps.arrays import U64

DIM = 16
FIELDS = 26
NUMBERS = 13
BATCH = 4_096
TABLE = "t"
LOAD_ROWS = 100_000


def features() -> FeatureSpec:
    """26 fields of ids in one table, 13 numbers."""
    ids = tuple(
        Categorical(f"c{slot}", f"c{slot}", slot=slot, table=TABLE) for slot in range(1, FIELDS + 1)
    )
    return FeatureSpec((*ids, *(Numeric(f"n{i}", f"n{i}") for i in range(NUMBERS))))


def deepfm() -> Model:
    """The model under test."""
    return build_model("deepfm", features().layout, {"dim": DIM, "hidden": [256, 128]})


def shard_spec(shard: int = 0, *, dense: bool = True) -> ShardSpec:
    """Its shard."""
    model = deepfm()
    table = TableSpec(
        TABLE,
        model.row_width,
        AdaGrad(learning_rate=0.05),
        Initializer("normal", 0.01, model.leading_zeros),
    )
    variables = (
        DenseSpec(name, shape.shape, Adam(learning_rate=1e-3), shape.init_scale)
        for name, shape in model.dense_shapes().items()
    )
    return ShardSpec("bench", (table,), tuple(variables) if dense else (), shard=shard)


def fids_of(slot: int, identities: U64) -> U64:
    """Fids of one field."""
    return identities | np.uint64(slot << 48)


class Stream:
    """Batches with popular and rare ids, made beforehand and then gone round."""

    def __init__(self, rows: int, batches: int) -> None:
        rng = np.random.default_rng(1)
        self._per_field = rows // FIELDS
        self._offset = 0
        self._batches = [self._made(rng) for _ in range(batches)]

    def _made(self, rng: np.random.Generator) -> tuple[dict[str, FidColumn], np.ndarray]:
        columns = {}
        for slot in range(1, FIELDS + 1):
            # Log-uniform: the k-th id comes up as often as 1 / k.
            drawn = np.exp(rng.random(BATCH) * np.log(self._per_field)).astype(np.uint64)
            columns[f"c{slot}"] = FidColumn(fids_of(slot, drawn))
        return columns, rng.random((BATCH, NUMBERS), dtype=np.float32)

    def endless(self) -> Iterator[Batch]:
        """The batches, over and over, at rising positions."""
        labels = np.tile(np.array([0, 0, 0, 1], np.float32), BATCH // 4)
        while True:
            columns, dense = self._batches[self._offset // BATCH % len(self._batches)]
            span = Span("bench", self._offset, self._offset + BATCH)
            self._offset += BATCH
            yield Batch(
                size=BATCH,
                columns=columns,
                dense=dense,
                event_ts_us=np.full(BATCH, 1_000_000, np.int64),
                labels=labels,
                offsets=np.arange(span.begin, span.end),
                span=span,
                ingest_us=0,
            )


def fill(shards: list[Shard], rows: int) -> None:
    """Give every id its row, with optimizer state in it."""
    client = RoutingClient(shards)
    width = shards[0].spec.tables[0].width
    per_field = rows // FIELDS
    identities = np.arange(FIELDS * per_field, dtype=np.uint64)
    fids = (identities // np.uint64(per_field) + np.uint64(1)) << np.uint64(48)
    fids |= identities % np.uint64(per_field)
    for at in range(0, fids.size, LOAD_ROWS):
        chosen = fids[at : at + LOAD_ROWS]
        gradients = RowGradients(
            chosen,
            np.full((chosen.size, width), 0.01, dtype=np.float32),
            np.ones(chosen.size, dtype=np.uint32),
        )
        span = Span("fill", at, at + chosen.size)
        client.push(span, event_ts_us=1_000_000, rows={TABLE: gradients}, dense={})
