"""Plans made by hand: small synthetic streams and one of every kind of model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cluster.plan import AdminPlan, Plan, ServePlan, StorePlan, TrainPlan
from model.assemble import ExampleSpec
from model.event_time import EventTimeSpec
from model.features import Bucketised, Categorical, FeatureSpec, HourOfDay, MultiValued, Numeric
from model.labels import LabelSpec
from model.models.registry import build_model
from ps.admission import AdmitAll
from ps.buckets import dense_owner, even_shard_map
from ps.dense import DenseSpec
from ps.initializers import Initializer
from ps.optimizers import AdaGrad, FtrlProximal, Optimizer, Sgd
from ps.shard import ShardSpec
from ps.table import SlotPolicy, TableSpec
from serving.config import ServingConfig
from worker.metrics.progressive import MetricsSpec
from worker.sources.synthetic import ClickStreamSpec, SyntheticClicks

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.plan import Grain
    from ps.admission import Admission
    from worker.events import Source

TABLE = "embedding"
FEATURES = FeatureSpec(
    (
        Categorical("user", "user_id", 1),
        Categorical("item", "item_id", 2),
        Categorical("segment", "user_segment", 3),
        MultiValued("tags", "item_tags", 4, pooling="mean"),
        MultiValued("interests", "user_interests", 5),
        Bucketised("price", "item_price", 6, buckets="log2"),
        HourOfDay("hour", 7),
        Numeric("age", "user_age", missing=30.0, scale=50.0),
    )
)
COUNTED = FeatureSpec((Categorical("user", "user_id", 1), MultiValued("tags", "item_tags", 4)))


@dataclass(frozen=True)
class Job:
    """What the tests vary."""

    kind: str = "logistic"
    grain: Grain = "batch"
    shards: int = 1
    records: int | None = 6_000
    partitions: int = 2
    malformed_share: float = 0.0
    batch_size: int = 256
    passes: int = 1
    max_examples: int | None = None
    replicas: int = 1
    sync_interval_s: float = 0.05
    ttl_s: int | None = None
    admission: Admission | None = None
    quarantine: Path | None = None
    source: Source | None = None
    store: Path | str | None = None
    commit_every_s: float = 0.0
    standbys: int = 0
    admin: bool = False


def plan_of(job: Job) -> Plan:
    features = COUNTED if job.kind == "counting" else FEATURES
    options: dict[str, Any] = {"dim": 4, "hidden": [8]} if job.kind == "deepfm" else {}
    options = {"dim": 4} if job.kind == "fm" else options
    model = build_model(job.kind, features.layout, options)
    optimizer: Optimizer = AdaGrad(0.05)
    if job.kind in ("logistic", "counting"):
        optimizer = FtrlProximal(0.1) if job.kind == "logistic" else Sgd(1.0)
    plain = model.row_width == model.leading_zeros
    slots = tuple(
        SlotPolicy(slot, ttl_s=job.ttl_s, admission=job.admission or AdmitAll())
        for slot in features.slots
    )
    table = TableSpec(
        TABLE,
        model.row_width,
        optimizer,
        Initializer() if plain else Initializer("normal", 0.1, model.leading_zeros),
        slots=slots,
        capacity_rows=100_000,
        remembered_fids=10_000,
    )
    owners = even_shard_map(job.shards)
    dense = [
        DenseSpec(name, shape.shape, optimizer, shape.init_scale)
        for name, shape in model.dense_shapes().items()
    ]
    return Plan(
        name="test",
        examples=ExampleSpec(features, LabelSpec("click"), EventTimeSpec("event_ts_us", "us")),
        source=job.source
        or SyntheticClicks(
            ClickStreamSpec(
                records=job.records,
                partitions=job.partitions,
                malformed_share=job.malformed_share,
                records_per_s=100.0,
                users=400,
                items=200,
            ),
            chunk_rows=700,
        ),
        make_model=lambda: build_model(job.kind, features.layout, options),
        shards=tuple(
            ShardSpec(
                "m",
                (table,),
                tuple(one for one in dense if dense_owner(one.name, owners) == number),
                shard=number,
                seed=3,
            )
            for number in range(job.shards)
        ),
        train=TrainPlan(
            batch_size=job.batch_size,
            grain=job.grain,
            passes=job.passes,
            max_examples=job.max_examples,
            metrics=MetricsSpec(window_s=10.0),
            max_jump_s=3_600.0,
            quarantine=job.quarantine,
            prefetch_batches=2,
            standbys=job.standbys,
        ),
        serve=ServePlan(
            replicas=job.replicas,
            sync_interval_s=job.sync_interval_s,
            servers=tuple(ServingConfig() for _ in range(job.replicas)),
        ),
        store=None
        if job.store is None
        else StorePlan(str(job.store), commit_every_s=job.commit_every_s),
        admin=AdminPlan() if job.admin else None,
    )
