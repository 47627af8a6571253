"""One step of learning: from a batch and its parameters to what is pushed, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from model.batch import Inputs
from model.loss import sigmoid
from ps.messages import RowGradients
from worker.errors import WorkerError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model.batch import Batch, Lookup
    from model.model import Model
    from ps.arrays import F32
    from ps.errors import NonFiniteGradientError
    from ps.messages import PushReceipt
    from ps.stream import Span


@dataclass(frozen=True, slots=True)
class Learned:
    """What became of a batch.

    probabilities: float32[size], from before learning; None where nothing was learned: the batch
    had been applied before, or was dropped whole for the reason given.
    """

    probabilities: F32 | None
    dropped: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What one batch asks of the shards: the arguments of RoutingClient.push.

    probabilities: float32[size], what was predicted; empty for a batch without examples. dropped: why
    nothing is learned from the batch, of which the position alone is pushed.
    """

    span: Span
    event_ts_us: int
    ingest_us: int | None
    probabilities: F32
    rows: Mapping[str, RowGradients] = field(default_factory=dict)
    dense: Mapping[str, F32] = field(default_factory=dict)
    dropped: str | None = None

    def without_gradients(self, reason: str) -> Step:
        """The step that moves every shard's position past the batch and teaches nothing."""
        return replace(self, rows={}, dense={}, dropped=reason)

    def learned(self, *, applied: bool) -> Learned:
        """What has become of the batch, if some shard applied the step, or if all had before.

        A batch that is dropped, and had been applied before, is no loss.
        """
        if self.dropped is not None:
            return Learned(None, self.dropped if applied else None)
        # Nothing can be said of no examples but that they were seen.
        return Learned(self.probabilities if applied or not self.probabilities.size else None)

    def settled(self, receipt: PushReceipt) -> Learned:
        """What has become of the batch, by the receipt of its push."""
        return self.learned(applied=receipt.applied)


def empty_step(batch: Batch) -> Step:
    """The step of a batch without examples: positions move."""
    return Step(
        span_of(batch),
        int(batch.event_ts_us.max(initial=0)),
        batch.ingest_us,
        np.empty(0, dtype=np.float32),
    )


def step_of(
    model: Model,
    batch: Batch,
    lookups: Mapping[str, Lookup],
    rows: Mapping[str, F32],
    dense: Mapping[str, F32],
) -> Step:
    """Predict the batch's examples, at least one, and derive what they teach.

    The model goes forward and backward over this one batch, and keeps nothing of it after. Raises
    WorkerError for a batch that is no part of a stream.
    """
    logits = model.forward(Inputs(batch, lookups, rows, dense))
    plain = Step(
        span_of(batch),
        int(batch.event_ts_us.max()),
        batch.ingest_us,
        np.empty(0, dtype=np.float32),
    )
    if not np.isfinite(logits).all():
        return plain.without_gradients("the model's output is not finite")
    probabilities = sigmoid(logits)
    gradients = model.backward(probabilities - labels_of(batch))
    return replace(
        plain,
        probabilities=probabilities,
        rows={
            table: RowGradients(lookup.fids, gradients.rows[table], lookup.counts)
            for table, lookup in lookups.items()
        },
        dense=gradients.dense,
    )


def not_finite(error: NonFiniteGradientError) -> str:
    """The reason to drop a batch for."""
    return f"gradient for {error.where} is not finite"


def span_of(batch: Batch) -> Span:
    """Where in the stream the batch is from. Raises WorkerError where it is from none."""
    if batch.span is None:
        raise WorkerError("a batch to learn from needs its span; assemble it from a stream")
    return batch.span


def labels_of(batch: Batch) -> F32:
    """The batch's labels. Raises WorkerError where it has none."""
    if batch.labels is None:
        raise WorkerError("a batch to learn from needs labels; assemble it from a stream")
    return batch.labels
