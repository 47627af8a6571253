"""From a job to a plan: defaults filled in, parts built, impossible combinations refused."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.job.blame import Blame
from cluster.job.conventions import event_time_of, label_of
from cluster.job.open_source import open_source
from cluster.job.resolve_admin import admin_plan
from cluster.job.resolve_cluster import check_cluster, cluster_plan
from cluster.job.resolve_features import feature_spec
from cluster.job.resolve_serving import serve_plan
from cluster.job.resolve_shards import shard_specs
from cluster.job.resolve_store import store_plan
from cluster.plan import Plan, TrainPlan
from model.assemble import ExampleSpec
from model.event_time import OffsetClock
from model.models import build_model
from worker.metrics.progressive import MetricsSpec

if TYPE_CHECKING:
    from cluster.job.load import Job
    from cluster.job.resolve_cluster import Spread
    from model.features import FeatureSpec
    from model.model import Model
    from ps.shard import ShardSpec
    from worker.events import Source


def resolve(
    job: Job,
    *,
    source: Source | None = None,
    shards: int | None = None,
    store: str | None = None,
    spread: Spread | None = None,
) -> Plan:
    """The plan of a job.

    Instead of what the job file says, where given: source to read from, number of shards, URL (or
    path, from the working directory) of the block store. spread: the plan of a run on a cluster, with
    numbers in place of those of the section. Raises JobFileError for what cannot work,
    worker.errors.SourceError where the source is not there.
    """
    settings, blame = job.settings, Blame(job.document)
    features = feature_spec(job, blame)
    kind = settings.model.kind
    options = settings.model.model_dump(exclude={"kind"})
    with blame.on("model"):
        model = build_model(kind, features.layout, options)
    cluster = cluster_plan(job, blame, spread)
    asked = settings.train.shards if shards is None else shards
    if spread is not None:
        asked = cluster.shards
    make_shards = partial(_make_shards, job, features, model, blame)
    with blame.on("label"):
        label = label_of(job, blame)
    event_time = event_time_of(job, blame)
    examples = ExampleSpec(features, label, event_time)
    train = _train_plan(job, blame, timed=not isinstance(event_time, OffsetClock))
    serve = serve_plan(job, blame, None if spread is None else cluster.replicas)
    plan = Plan(
        name=job.name,
        examples=examples,
        source=source or open_source(job, examples.columns, blame),
        make_model=partial(build_model, kind, features.layout, options),
        shards=make_shards(asked),
        train=train,
        serve=serve,
        store=store_plan(job, blame, store),
        admin=admin_plan(job, blame),
        cluster=cluster,
        make_shards=make_shards,
    )
    if spread is not None:
        check_cluster(plan, blame)
    return plan


def _make_shards(
    job: Job, features: FeatureSpec, model: Model, blame: Blame, shards: int
) -> tuple[ShardSpec, ...]:
    _check_grain(job, shards, blame)
    return shard_specs(job, features, model, shards, blame)


def _check_grain(job: Job, shards: int, blame: Blame) -> None:
    settings = job.settings
    if settings.train.grain != "example":
        return
    if settings.model.kind != "logistic":
        blame.refuse(
            ("train", "grain"),
            f"found example; learning by example is for model kind logistic, this is "
            f"{settings.model.kind}: set grain: batch, or model: {{kind: logistic}}",
        )
    if shards != 1:
        blame.refuse(
            ("train", "shards"),
            f"found {shards}; learning by example needs its only shard at hand: "
            "set shards: 1, or grain: batch",
        )
    tables = {feature.table for feature in settings.features if feature.kind != "numeric"}
    if len(tables) > 1:
        blame.refuse(
            ("train", "grain"),
            f"found example; learning by example keeps all features in one table, not in "
            f"{', '.join(sorted(tables))}: put them into one, or set grain: batch",
        )


def _train_plan(job: Job, blame: Blame, *, timed: bool) -> TrainPlan:
    train = job.settings.train
    metrics = train.metrics
    with blame.on("train", "metrics"):
        spec = MetricsSpec(
            window_s=metrics.window,
            lateness_s=metrics.lateness,
            keep_windows=metrics.keep_windows,
            group_by=metrics.group_by,
            group_capacity=metrics.group_capacity,
        )
    if train.max_jump == 0:
        blame.refuse(("train", "max_jump"), "found 0; set it above 0, or to null for any jump")
    quarantine = None if train.quarantine is None else job.document.folder / Path(train.quarantine)
    return TrainPlan(
        batch_size=train.batch_size,
        grain=train.grain,
        passes=train.passes,
        max_examples=train.max_examples,
        metrics=spec,
        # The order of records as a clock cannot jump.
        max_jump_s=train.max_jump if timed else None,
        quarantine=quarantine,
        prefetch_batches=train.prefetch_batches,
        standbys=train.standbys,
    )
