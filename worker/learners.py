"""Learning from one batch: all gradients at once, or one example after another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from model.flatten import flatten
from model.lookup import LookupBuilder
from model.models.linear import LINEAR
from ps.errors import NonFiniteGradientError
from ps.messages import LogisticExamples, Push
from worker.errors import WorkerError
from worker.step import Learned, empty_step, labels_of, not_finite, span_of, step_of

if TYPE_CHECKING:
    from model.batch import Batch
    from model.features import FeatureLayout
    from model.model import Model
    from ps.client import RoutingClient
    from ps.shard import Shard
    from worker.step import Step


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
            return self._send(empty_step(batch), generation)
        lookups = self._lookups.build(batch)
        rows = self._client.pull({table: lookup.fids for table, lookup in lookups.items()})
        step = step_of(self._model, batch, lookups, rows, self._client.pull_dense())
        try:
            return self._send(step, generation)
        except NonFiniteGradientError as error:
            return self._send(step.without_gradients(not_finite(error)), generation)

    def _send(self, step: Step, generation: int) -> Learned:
        receipt = self._client.push(
            step.span,
            event_ts_us=step.event_ts_us,
            ingest_us=step.ingest_us,
            generation=generation,
            rows=step.rows,
            dense=step.dense,
        )
        return step.settled(receipt)


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
            span=span_of(batch),
            event_ts_us=int(batch.event_ts_us.max(initial=0)),
            ingest_us=batch.ingest_us,
            generation=generation,
            table=self._table,
            dense=LINEAR,
            fids=fids,
            offsets=offsets,
            values=values,
            inputs=batch.dense,
            labels=labels_of(batch),
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
