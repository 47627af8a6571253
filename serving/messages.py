"""Between the messages on the wire and the objects of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from serving import predict_pb2 as pb
from serving.prediction import Prediction
from serving.version import ModelVersion, ShardVersion

if TYPE_CHECKING:
    from serving.inputs import InputField


def response_of(prediction: Prediction, request_id: str) -> pb.PredictResponse:
    """A prediction as the answer to a call."""
    return pb.PredictResponse(
        probabilities=prediction.probabilities.tolist(),
        version=version_message(prediction.version),
        staleness_s=prediction.staleness_s,
        request_id=request_id,
        unknown_fids=prediction.unknown_fids,
    )


def prediction_of(response: pb.PredictResponse) -> Prediction:
    """The prediction that an answer carries. Seal times are not sent: sealed_us is 0."""
    count = len(response.probabilities)
    return Prediction(
        probabilities=np.fromiter(response.probabilities, dtype=np.float32, count=count),
        version=version_of(response.version),
        staleness_s=response.staleness_s,
        unknown_fids=dict(response.unknown_fids),
    )


def version_message(version: ModelVersion) -> pb.ModelVersion:
    """A version as a message."""
    return pb.ModelVersion(
        model=version.model,
        shards=[
            pb.ShardVersion(
                shard=shard.shard,
                generation=shard.generation,
                epoch=shard.epoch,
                event_ts_us=shard.event_ts_us,
            )
            for shard in version.shards
        ],
    )


def version_of(message: pb.ModelVersion) -> ModelVersion:
    """The version that a message carries."""
    return ModelVersion(
        model=message.model,
        shards=tuple(
            ShardVersion(shard.shard, shard.generation, shard.epoch, shard.event_ts_us, 0)
            for shard in message.shards
        ),
    )


def feature_message(field: InputField) -> pb.Feature:
    """A column that a request may carry, as a message."""
    return pb.Feature(
        name=field.name,
        kind=field.kind,
        types=sorted(field.types),
        multi_valued=field.multi_valued,
        required=field.required,
    )
