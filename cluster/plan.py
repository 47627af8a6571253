"""A job, resolved: frozen objects from which a run is built, with nothing left to validate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from model.assemble import ExampleSpec
    from model.model import Model
    from ps.shard import ShardSpec
    from serving.config import ServingConfig
    from worker.events import Source
    from worker.metrics.progressive import MetricsSpec

# batch: gradients of a mini-batch at once. example: each example sees the updates of those before.
Grain = Literal["batch", "example"]


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """How to learn.

    batch_size: positions of the stream a batch covers. passes: times over the source.
    max_examples: positions after which to stop, over all partitions; None: to the end of the stream.
    max_jump_s: how far ahead of the event clock a timestamp may be, None: any.
    quarantine: file for rejected records; None: they are only counted.
    """

    batch_size: int
    grain: Grain
    passes: int
    max_examples: int | None
    metrics: MetricsSpec
    max_jump_s: float | None
    quarantine: Path | None
    prefetch_batches: int


@dataclass(frozen=True, slots=True)
class ServePlan:
    """How to serve: one server for each replica. sync_interval_s: wall time between two epochs."""

    replicas: int
    sync_interval_s: float
    servers: tuple[ServingConfig, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a run needs. make_model gives a model of its own to each thread that asks."""

    name: str
    examples: ExampleSpec
    source: Source
    make_model: Callable[[], Model]
    shards: tuple[ShardSpec, ...]
    train: TrainPlan
    serve: ServePlan
