"""A resolved job in figures: its slots, its tables and what they weigh, its dense variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.job.section import format_size
from model.features import (
    Bucketised,
    Categorical,
    Cross,
    DayOfWeek,
    HourOfDay,
    MultiValued,
    Numeric,
)
from ps.admin.wording import describe_optimizer, format_duration
from ps.admission import AdmitAfter, AdmitWithProbability
from ps.kernels.layout import row_layout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cluster.plan import Plan
    from model.features import Feature
    from ps.table.spec import SlotPolicy, TableSpec

_WORD_BYTES = 4
# A line of 64 bytes holds ten entries and is split at a load of 0.86 (ps.kernels.index).
_INDEX_BYTES_PER_ROW = 64 / (10 * 0.86)

_KINDS: Mapping[type[Feature], str] = {
    Categorical: "categorical",
    MultiValued: "multi_valued",
    Bucketised: "bucketised",
    Cross: "cross",
    HourOfDay: "hour_of_day",
    DayOfWeek: "day_of_week",
    Numeric: "numeric",
}


@dataclass(frozen=True, slots=True)
class FeatureFacts:
    """A feature. slot and table are None for a dense input."""

    name: str
    kind: str
    reads: str
    slot: int | None
    table: str | None
    ttl: str
    admission: str


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A table of one shard. row_bytes: of the whole record; bytes_per_million: with the index."""

    name: str
    features: tuple[str, ...]
    weights: int
    state: int
    row_bytes: int
    bytes_per_million: float
    optimizer: str
    initializer: str
    capacity: str


@dataclass(frozen=True, slots=True)
class DenseFacts:
    """A dense variable."""

    name: str
    shape: tuple[int, ...]
    size: int
    optimizer: str
    shard: int


def feature_facts(plan: Plan) -> list[FeatureFacts]:
    """The features in order."""
    policies = {
        (table.name, policy.slot): policy
        for table in plan.shards[0].tables
        for policy in table.slots
    }
    return [_feature_facts(feature, policies) for feature in plan.examples.features.features]


def table_facts(plan: Plan) -> list[TableFacts]:
    """The tables, as one shard holds them."""
    members = plan.examples.features.tables
    return [_table_facts(table, members[table.name]) for table in plan.shards[0].tables]


def dense_facts(plan: Plan) -> list[DenseFacts]:
    """The dense variables of all shards."""
    return [
        DenseFacts(
            variable.name,
            variable.shape,
            variable.size,
            describe_optimizer(variable.optimizer),
            shard.shard,
        )
        for shard in plan.shards
        for variable in shard.dense
    ]


def store_facts(plan: Plan) -> str:
    """The block store in a line; what would be missing, where there is none."""
    store = plan.store
    if store is None:
        return "none: what is learned is gone when the run ends (store: {url: ...} keeps it)"
    limits = []
    if store.keep_points is not None:
        limits.append(f"the latest {store.keep_points:,}")
    if store.keep_age_s is not None:
        limits.append(f"{format_duration(store.keep_age_s)} back")
    if store.keep_bytes is not None:
        limits.append(f"within {format_size(store.keep_bytes)}")
    kept = ", ".join(limits) or "all of them"
    return (
        f"{store.url}, a restore point every {format_duration(store.commit_every_s)}, kept: {kept}"
    )


def admin_facts(plan: Plan) -> str:
    """The admin service in a line."""
    admin = plan.admin
    if admin is None:
        return "off"
    port = "any free port" if admin.port == 0 else f"port {admin.port}"
    safety = "token" if admin.token is not None else "no token"
    return f"{admin.host}, {port}, {safety}, {'TLS' if admin.cert_file else 'no TLS'}"


def cluster_facts(plan: Plan) -> str:
    """How the job is spread over a cluster, in a line; what stands in the way, where something does."""
    if plan.train.grain == "example":
        return "not possible: learning by example needs its only shard at hand (train.grain: batch)"
    if plan.store is None or plan.store.url.startswith("memory:"):
        return "not possible: it needs a store that every machine reaches (store: {url: ...})"
    cluster = plan.cluster
    parts = [
        f"{cluster.shards} shard(s)",
        f"{cluster.standbys} standby(s) each",
        f"{cluster.workers} worker(s)",
        f"{plan.serve.replicas if cluster.replicas is None else cluster.replicas} replica(s)",
        f"staleness {cluster.staleness}",
    ]
    return ", ".join(parts)


def _feature_facts(feature: Feature, policies: dict[tuple[str, int], SlotPolicy]) -> FeatureFacts:
    if isinstance(feature, Numeric):
        return FeatureFacts(feature.name, "numeric", feature.column, None, None, "", "")
    policy = policies[(feature.table, feature.slot)]
    return FeatureFacts(
        name=feature.name,
        kind=_KINDS[type(feature)],
        reads=_reads(feature),
        slot=feature.slot,
        table=feature.table,
        ttl="" if policy.ttl_s is None else format_duration(policy.ttl_s),
        admission=_describe_admission(policy),
    )


def _reads(feature: Feature) -> str:
    match feature:
        case Categorical() | MultiValued() | Bucketised():
            return feature.column
        case Cross():
            return " × ".join(feature.of)
        case _:
            return "event time"


def _describe_admission(policy: SlotPolicy) -> str:
    match policy.admission:
        case AdmitAfter(occurrences=n):
            return f"after {n}"
        case AdmitWithProbability(probability=p):
            return f"p = {p:g}"
        case _:
            return ""


def _table_facts(table: TableSpec, features: tuple[str, ...]) -> TableFacts:
    row_bytes = row_layout(table.width, table.state_width).stride * _WORD_BYTES
    initializer = table.initializer
    capacity = "as memory allows"
    if table.capacity_rows is not None:
        capacity = f"{table.capacity_rows:,} rows, then {table.on_full}"
    return TableFacts(
        name=table.name,
        features=features,
        weights=table.width,
        state=table.state_width,
        row_bytes=row_bytes,
        bytes_per_million=(row_bytes + _INDEX_BYTES_PER_ROW) * 1e6,
        optimizer=describe_optimizer(table.optimizer),
        initializer=(
            "zeros" if initializer.kind == "zeros" else f"{initializer.kind} {initializer.scale:g}"
        ),
        capacity=capacity,
    )
