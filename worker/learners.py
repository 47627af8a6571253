"""Learning from one batch: all gradients at once, or one example after another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from model.batch import Inputs
from model.flatten import flatten
from model.lookup import LookupBuilder
from model.loss import sigmoid
from model.models.linear import LINEAR
from ps.errors import NonFiniteGradientError
from ps.messages import LogisticExamples, Push, RowGradients
from worker.errors import WorkerError

if TYPE_CHECKING:
    from model.batch import Batch
    from model.features import FeatureLayout
    from model.model import Model
    from ps.arrays import F32
    from ps.client import RoutingClient
    from ps.shard import Shard
    from ps.stream import Span


@dataclass(frozen=True, slots=True)
class Learned:
    """What became of a batch.

    probabilities: float32[size], from before learning; None where nothing was learned: the batch
    had been applied before, or was dropped whole for the reason given.
    """

    probabilities: F32 | None
    dropped: str | None = None


class Learner(Protocol):
    """Predicts and learns, batch by batch, in the order of the stream."""

    def learn(self, batch: Batch, generation: int) -> Learned:
        """Predict every example of the batch, then learn from it.

        batch.span is set and comes next in its partition. Raises what the shards raise, but for
        gradients that are not finite: those drop the batch, and its position moves on.
        """
        ...


class BatchLearner:
    """Mini-batches through any model: pull, forward, backward, push."""

    def __init__(self, model: Model, layout: FeatureLayout, client: RoutingClient) -> None:
        self._model = model
        self._client = client
        self._lookups = LookupBuilder(layout.tables)

    def learn(self, batch: Batch, generation: int) -> Learned:
        """See Learner."""
        if batch.size == 0:
            self._skip(batch, generation)
            return Learned(np.empty(0, dtype=np.float32))
        lookups = self._lookups.build(batch)
        rows = self._client.pull({table: lookup.fids for table, lookup in lookups.items()})
        logits = self._model.forward(Inputs(batch, lookups, rows, self._client.pull_dense()))
        if not np.isfinite(logits).all():
            return self._drop(batch, generation, "the model's output is not finite")
        probabilities = sigmoid(logits)
        gradients = self._model.backward(probabilities - _labels(batch))
        try:
            receipt = self._client.push(
                _span(batch),
                event_ts_us=int(batch.event_ts_us.max()),
                ingest_us=batch.ingest_us,
                generation=generation,
                rows={
                    table: RowGradients(lookup.fids, gradients.rows[table], lookup.counts)
                    for table, lookup in lookups.items()
                },
                dense=gradients.dense,
            )
        except NonFiniteGradientError as error:
            return self._drop(batch, generation, f"gradient for {error.where} is not finite")
        return Learned(probabilities if receipt.applied else None)

    def _drop(self, batch: Batch, generation: int, reason: str) -> Learned:
        """Learn nothing from the batch; one that had been applied before is no loss."""
        return Learned(None, reason if self._skip(batch, generation) else None)

    def _skip(self, batch: Batch, generation: int) -> bool:
        """Move every shard's position past the batch; whether it was not there yet."""
        receipt = self._client.push(
            _span(batch),
            event_ts_us=int(batch.event_ts_us.max(initial=0)),
            ingest_us=batch.ingest_us,
            generation=generation,
            rows={},
            dense={},
        )
        return receipt.applied


class ExampleLearner:
    """Logistic regression, each example with the updates of all before it, on one shard held here."""

    def __init__(self, layout: FeatureLayout, shard: Shard) -> None:
        tables = list(layout.tables)
        if len(tables) != 1:
            raise WorkerError(
                f"learning by example keeps all features in one table, not in {len(tables)} "
                f"({', '.join(tables)}); put them into one, or set grain: batch"
            )
        self._table = tables[0]
        self._fields = layout.fields
        # One fid a field, and a slot of its own for each: no example can have a fid twice.
        self._distinct = all(field.pooling is None for field in layout.fields) and len(
            {field.slot for field in layout.fields}
        ) == len(layout.fields)
        self._shard = shard

    def learn(self, batch: Batch, generation: int) -> Learned:
        """See Learner."""
        fids, offsets, values = flatten(batch, self._fields)
        examples = LogisticExamples(
            span=_span(batch),
            event_ts_us=int(batch.event_ts_us.max(initial=0)),
            ingest_us=batch.ingest_us,
            generation=generation,
            table=self._table,
            dense=LINEAR,
            fids=fids,
            offsets=offsets,
            values=values,
            inputs=batch.dense,
            labels=_labels(batch),
            distinct=self._distinct,
        )
        try:
            return Learned(self._shard.learn_logistic(examples))
        except NonFiniteGradientError as error:
            receipt = self._shard.push(
                Push(examples.span, examples.event_ts_us, examples.ingest_us, generation)
            )
            reason = f"{error.where} are not finite or too large"
            return Learned(None, reason if receipt.applied else None)


def _span(batch: Batch) -> Span:
    if batch.span is None:
        raise WorkerError("a batch to learn from needs its span; assemble it from a stream")
    return batch.span


def _labels(batch: Batch) -> F32:
    if batch.labels is None:
        raise WorkerError("a batch to learn from needs labels; assemble it from a stream")
    return batch.labels
