"""A job, resolved: frozen objects from which a run is built, with nothing left to validate."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from cluster.errors import RunError
from ps.admin.target import AdminSettings
from ps.buckets import dense_owner, even_shard_map

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from model.assemble import ExampleSpec
    from model.model import Model
    from ps.shard import ShardSpec
    from serving.config import ServingConfig
    from worker.events import Source
    from worker.metrics.progressive import MetricsSpec

# required: never two on one machine. preferred: on machines of their own where there are enough.
Apart = Literal["required", "preferred"]

# batch: gradients of a mini-batch at once. example: each example sees the updates of those before.
Grain = Literal["batch", "example"]


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """How to learn.

    batch_size: positions of the stream a batch covers. passes: times over the source.
    max_examples: positions after which to stop, over all partitions; None: to the end of the stream.
    max_jump_s: how far ahead of the event clock a timestamp may be, None: any.
    quarantine: file for rejected records; None: they are only counted. standbys: hot copies of each
    shard that follow its blocks.
    """

    batch_size: int
    grain: Grain
    passes: int
    max_examples: int | None
    metrics: MetricsSpec
    max_jump_s: float | None
    quarantine: Path | None
    prefetch_batches: int
    standbys: int = 0


@dataclass(frozen=True, slots=True)
class ServePlan:
    """How to serve: one server for each replica. sync_interval_s: wall time between two epochs."""

    replicas: int
    sync_interval_s: float
    servers: tuple[ServingConfig, ...]


@dataclass(frozen=True, slots=True)
class StorePlan:
    """Where sealed epochs are kept, how often one becomes a restore point, and how long it stays.

    url: a folder, absolute, or any fsspec URL. commit_every_s: wall time between two restore points.
    keep_points, keep_age_s, keep_bytes: a restore point goes once it is beyond any of these; None:
    no such limit; the newest always stays. compact_after_share, compact_after_blocks: a shard's
    blocks become a new base once they weigh that share of the base, or are that many.
    compact_memory_bytes: what the compactor may take.
    """

    url: str
    commit_every_s: float = 1.0
    keep_points: int | None = 1_000
    keep_age_s: float | None = None
    keep_bytes: int | None = None
    compact_after_share: float = 1.0
    compact_after_blocks: int = 300
    compact_memory_bytes: int = 512 << 20


@dataclass(frozen=True, slots=True)
class AdminPlan:
    """Where the admin service listens; port 0: any free one. cert_file, key_file: PEM, or neither."""

    host: str = "127.0.0.1"
    port: int = 0
    token: str | None = field(default=None, repr=False)
    cert_file: Path | None = None
    key_file: Path | None = None

    def settings(self) -> AdminSettings:
        """What the service is started with. Raises RunError where a PEM file cannot be read."""
        return AdminSettings(
            host=self.host,
            port=self.port,
            token=self.token,
            tls_cert=_pem(self.cert_file),
            tls_key=_pem(self.key_file),
        )


@dataclass(frozen=True, slots=True)
class Needs:
    """What the machine of one process must have free. custom: resources of the cluster's own."""

    num_cpus: float = 1.0
    memory_bytes: int | None = None
    custom: Mapping[str, float] = field(default_factory=dict)

    def bundle(self) -> dict[str, float]:
        """As Ray asks for it."""
        found = {"CPU": self.num_cpus, "memory": float(self.memory_bytes or 0), **self.custom}
        return {name: amount for name, amount in found.items() if amount > 0}


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """How many processes of what kind the job is spread over, what each needs, and how far apart.

    standbys: of each shard. replicas: None: as many as serve has, where somebody serves. staleness:
    batches whose pushes may be under way while the next one is pulled. start_timeout_s: for room, and
    for every process.
    """

    shards: int = 1
    standbys: int = 0
    workers: int = 1
    replicas: int | None = None
    staleness: int = 1
    shard_needs: Needs = Needs()
    worker_needs: Needs = Needs()
    replica_needs: Needs = Needs()
    coordinator_needs: Needs = Needs(num_cpus=0.1)
    standby_apart: Apart = "preferred"
    replicas_apart: Apart = "preferred"
    start_timeout_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a run needs. make_model gives a model of its own to each thread that asks.

    store, admin: None: there is none. make_shards: the shards of this plan in another number; None
    where nobody but the shards themselves knows. cluster: how it is spread, where it runs on one.
    """

    name: str
    examples: ExampleSpec
    source: Source
    make_model: Callable[[], Model]
    shards: tuple[ShardSpec, ...]
    train: TrainPlan
    serve: ServePlan
    store: StorePlan | None = None
    admin: AdminPlan | None = None
    cluster: ClusterPlan = ClusterPlan()
    make_shards: Callable[[int], tuple[ShardSpec, ...]] | None = None

    def shard_specs(self, shards: int) -> tuple[ShardSpec, ...]:
        """The same tables and dense variables on this many shards.

        Raises ps.errors.SpecError, or JobFileError, for a number that cannot be.
        """
        if shards == len(self.shards):
            return self.shards
        if self.make_shards is not None:
            return self.make_shards(shards)
        return spread(self.shards, shards)


def spread(specs: Sequence[ShardSpec], shards: int) -> tuple[ShardSpec, ...]:
    """Specifications of all shards of a model, for another number of shards. Raises SpecError."""
    shard_map = even_shard_map(shards)
    dense = [variable for spec in specs for variable in spec.dense]
    tables = tuple(
        table
        if table.capacity_rows is None
        else replace(table, capacity_rows=-(-table.capacity_rows * len(specs) // shards))
        for table in specs[0].tables
    )
    return tuple(
        replace(
            specs[0],
            tables=tables,
            dense=tuple(v for v in dense if dense_owner(v.name, shard_map) == number),
            shard=number,
        )
        for number in range(shards)
    )


def _pem(file: Path | None) -> bytes | None:
    try:
        return None if file is None else file.read_bytes()
    except OSError as error:
        raise RunError(
            f"{file} cannot be read ({error.strerror}); correct admin.tls, or leave it out"
        ) from error
