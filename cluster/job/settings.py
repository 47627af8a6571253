"""A job file as a whole, checked key by key; what its keys mean together is checked in resolve."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, StringConstraints

from cluster.job.features import FeatureSection
from cluster.job.parameters import DenseSection, ModelSection, TableSection
from cluster.job.section import Duration, Section, Size
from cluster.job.sources import SourceSection

_Text = Annotated[str, Field(min_length=1)]


class EventTimeSection(Section):
    """When an event happened: a column, or the order of the records at so many a second.

    unit: of a number since 1970, or iso for ISO 8601. format: a strptime pattern instead of a unit.
    """

    column: _Text | None = None
    unit: Literal["s", "ms", "us", "iso"] | None = None
    format: Annotated[str | None, Field(pattern="%", examples=["%y%m%d%H"])] = None
    records_per_s: PositiveFloat | None = None


class LabelSection(Section):
    """The column of the label: 0 and 1 (or true and false), or a number with a rule such as ">= 4"."""

    column: _Text
    positive_if: Annotated[str | None, Field(examples=[">= 4"])] = None


class MetricsSection(Section):
    """Progressive validation: per window of event time, and per value of chosen columns."""

    window: Annotated[Duration | None, Field(description="null: no windows")] = 3_600.0
    lateness: Duration = 0.0
    keep_windows: PositiveInt = 1_000
    group_by: tuple[_Text, ...] = ()
    group_capacity: PositiveInt = 50


class TrainSection(Section):
    """How to learn. grain example: logistic regression that learns from one example after another.

    max_examples: positions of the stream after which to stop. max_jump: how far ahead of the event
    clock a time may be, null: any. quarantine: a file for records that could not be learned from;
    null: they are only counted. standbys: hot copies of each shard, ready to take its place.
    """

    grain: Literal["batch", "example"] = "batch"
    batch_size: PositiveInt = 1_024
    passes: PositiveInt = 1
    max_examples: PositiveInt | None = None
    shards: Annotated[int, Field(ge=1, le=1_024)] = 1
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 1
    metrics: MetricsSection = MetricsSection()
    max_jump: Duration | None = 30 * 86_400.0
    quarantine: _Text | None = None
    prefetch_batches: PositiveInt = 2
    standbys: Annotated[int, Field(ge=0, le=1)] = 0


class TlsSection(Section):
    """PEM files, relative to the job file."""

    cert: _Text
    key: _Text


class ServeSection(Section):
    """How to serve: replicas listen on listen and the ports that follow (port 0: any free ones)."""

    replicas: Annotated[int, Field(ge=1, le=64)] = 1
    listen: Annotated[str, Field(pattern=r"^\S+:\d{1,5}$")] = "127.0.0.1:8500"
    sync_interval: Annotated[Duration, Field(description="between two epochs, wall time")] = 1.0
    threads: PositiveInt = 4
    max_candidates: PositiveInt = 10_000
    max_message_bytes: PositiveInt = 4 << 20
    max_concurrent_requests: PositiveInt = 1_000
    grace: Duration = 5.0
    metrics: Annotated[str | None, Field(pattern=r"^\S+:\d{1,5}$")] = None
    tls: TlsSection | None = None


class KeepSection(Section):
    """Which restore points stay: those within all of these limits, and the newest. null: no limit."""

    points: Annotated[int | None, Field(ge=0)] = 1_000
    age: Duration | None = None
    bytes: Size | None = None


class CompactSection(Section):
    """When a shard's blocks become a new base: at this share of the base's bytes, or this many."""

    share: PositiveFloat = 1.0
    blocks: PositiveInt = 300
    memory: Annotated[Size, Field(description="what the compactor may take")] = 512 << 20


class StoreSection(Section):
    """Where what was learned is kept, so that nothing is lost: a folder or any fsspec URL.

    commit_every: wall time between two restore points; null: serve.sync_interval.
    """

    url: Annotated[_Text, Field(description="folder, relative to the job file, or a URL")]
    commit_every: Duration | None = None
    keep: KeepSection = KeepSection()
    compact_after: CompactSection = CompactSection()


class AdminSection(Section):
    """The service that ps-admin talks to. Beyond this machine it needs a token and tls.

    token: what a client must know, best kept in the environment: ${TRILITH_ADMIN_TOKEN}.
    """

    listen: Annotated[str, Field(pattern=r"^\S+:\d{1,5}$")] = "127.0.0.1:0"
    token: Annotated[str | None, Field(pattern=r"^[!-~]{8,}$", repr=False)] = None
    tls: TlsSection | None = None


class NeedsSection(Section):
    """What the machine of one process must have free. custom: resources of that cluster's own, by name."""

    num_cpus: Annotated[float, Field(ge=0, le=1_024)] = 1.0
    memory: Size | None = None
    custom: dict[Annotated[str, Field(min_length=1)], PositiveFloat] = Field(default_factory=dict)


class RolesSection(Section):
    """What processes need, by what they do. The coordinator has little to do."""

    shard: NeedsSection = NeedsSection()
    worker: NeedsSection = NeedsSection()
    replica: NeedsSection = NeedsSection()
    coordinator: NeedsSection = NeedsSection(num_cpus=0.1)


class ClusterSection(Section):
    """The job on a Ray cluster (trilith train --cluster). What is left out is as in one process.

    shards: train.shards. standbys: of each shard, train.standbys. replicas: serve.replicas, and none
    where nobody serves. staleness: how many batches may be on their way to the shards while the next
    one is pulled, 0: none. *_apart: on machines of their own; preferred: where there are enough.
    start_timeout: how long to wait for room, and for each process.
    """

    shards: Annotated[int | None, Field(ge=1, le=1_024)] = None
    standbys: Annotated[int | None, Field(ge=0, le=3)] = None
    workers: Annotated[int, Field(ge=1, le=1_024)] = 1
    replicas: Annotated[int | None, Field(ge=0, le=64)] = None
    staleness: Annotated[int, Field(ge=0, le=64)] = 1
    resources: RolesSection = RolesSection()
    standby_apart: Literal["required", "preferred"] = "preferred"
    replicas_apart: Literal["required", "preferred"] = "preferred"
    start_timeout: Duration = 60.0


def _no_off(value: object) -> object:
    return None if value == "off" else value


class JobSettings(Section):
    """A job: where events come from, what is learned of them, and where it is served."""

    job: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    source: SourceSection
    event_time: EventTimeSection | None = None
    label: LabelSection | None = None
    features: Annotated[tuple[FeatureSection, ...], Field(min_length=1)]
    model: ModelSection
    tables: Annotated[dict[str, TableSection], Field(default_factory=dict)]
    dense: DenseSection = DenseSection()
    train: TrainSection = TrainSection()
    serve: ServeSection = ServeSection()
    store: StoreSection | None = None
    admin: Annotated[
        AdminSection | None, BeforeValidator(_no_off), Field(description="null or off: none")
    ] = AdminSection()
    cluster: ClusterSection = ClusterSection()
