"""The predictor: a query, a model and a replica make probabilities."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from model.batch import Batch, Inputs
from model.errors import ModelError
from model.lookup import LookupBuilder
from model.loss import sigmoid
from serving.errors import BadRequestError, ServingError
from serving.inputs import input_fields
from serving.prediction import Prediction
from serving.query import Query

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from model.features import FeatureSpec
    from model.features.spec import Extracted
    from model.model import Model
    from ps.clock import Clock
    from serving.inputs import InputField
    from serving.replica import Replica


class Predictor:
    """Columns -> fids -> rows -> logits -> probabilities, with the training's own code.

    Any number of threads may predict: each has its own Model object, since these hold scratch memory.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        make_model: Callable[[], Model],
        replica: Replica,
        clock: Clock,
        *,
        name: str | None = None,
    ) -> None:
        """name: what requests call the model; None takes the replica's, which may be a fingerprint."""
        self.name = name or replica.model
        self.replica = replica
        self.fields: Mapping[str, InputField] = input_fields(spec.features)
        self._spec = spec
        self._make_model = make_model
        self._clock = clock
        self._own = threading.local()

    def predict(self, query: Query) -> Prediction:
        """The probability of each candidate.

        Raises NotReadyError before the replica is; BadRequestError for a value that the features
        cannot use; ServingError where the model gives no finite number.
        """
        event_ts_us = np.full(query.size, query.event_ts_us, dtype=np.int64)
        try:
            extracted = self._spec.extract(query.candidates, event_ts_us, query.context)
        except ModelError as error:
            raise BadRequestError(str(error)) from error
        if extracted.reasons:
            raise _unusable(extracted)
        batch = Batch(extracted.size, extracted.columns, extracted.dense, event_ts_us)
        model, lookups = self._tools()
        found = lookups.build(batch)
        reading = self.replica.read({table: lookup.fids for table, lookup in found.items()})
        logits = model.forward(Inputs(batch, found, reading.rows, reading.dense))
        if not np.isfinite(logits).all():
            raise ServingError(
                f"the model's answer is not finite at {reading.version}; roll back to an older epoch"
            )
        return Prediction(
            probabilities=sigmoid(logits),
            version=reading.version,
            staleness_s=reading.version.staleness_s(self._clock.now_us()),
            unknown_fids=reading.unknown,
        )

    def rehearse(self) -> Prediction:
        """Predict for one candidate of which nothing is known, so that no user waits for compilers.

        Raises what predict raises; the replica must be ready.
        """
        nothing = {
            name: pa.array([0.0]) if field.required else pa.nulls(1)
            for name, field in self.fields.items()
        }
        context = pa.RecordBatch.from_arrays(list(nothing.values()), names=list(nothing))
        one = pa.RecordBatch.from_arrays([pa.nulls(1)], names=["\0"])
        return self.predict(Query(one, context, self._clock.now_us()))

    def _tools(self) -> tuple[Model, LookupBuilder]:
        """This thread's own model and lookup builder."""
        tools: tuple[Model, LookupBuilder] | None = getattr(self._own, "tools", None)
        if tools is None:
            tools = self._own.tools = (self._make_model(), LookupBuilder(self._spec.tables))
        return tools


def _unusable(extracted: Extracted) -> BadRequestError:
    """What to say of the first candidate that cannot be used."""
    first = min(extracted.reasons)
    reason = extracted.reasons[first]
    if len(extracted.reasons) == extracted.size and len(set(extracted.reasons.values())) == 1:
        return BadRequestError(reason)
    return BadRequestError(f"candidate {first}: {reason}")
