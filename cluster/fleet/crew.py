"""What runs in the actors of a job: its own processes, made from the job as it was shipped.

Each is made in the process of its actor, with its kernels compiled before it says hello.
"""

from __future__ import annotations

import socket
import uuid
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from cluster.fleet.coordination import ActorCoordination
from cluster.fleet.seated import SeatedShard, settle
from cluster.local.stream import passes
from cluster.warmup import warm_up
from ps.actor import ShardActorSpec
from ps.clock import SystemClock
from ps.fingerprint import code_fingerprint
from ps.net.remote import RemoteShard
from ps.store.opening import open_location
from serving.actor import ReplicaActor
from serving.host import ReplicaHost
from worker.actor import WorkerActor
from worker.event_time_guard import EventTimeGuard
from worker.loop import WorkerLoop
from worker.ownership import WorkerSettings
from worker.preparation import prepare
from worker.reporting import WorkerIdentity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from cluster.fleet.shipping import Shipped
    from cluster.plan import Plan
    from ps.clock import Clock
    from ps.directory import Leader
    from ps.store.commit import Skips
    from worker.event_time_guard import GuardState
    from worker.preparation import Prepared

_US = 1_000_000


@dataclass(frozen=True, slots=True)
class JobCrew:
    """See cluster.fleet.seats.Crew. token: of the job's data services. store: its URL."""

    job: Shipped
    store: str
    token: str = field(repr=False)

    def shard(self, seat: str) -> tuple[type, tuple[Any, ...]]:
        """See Crew."""
        holds = self.job.plan(source=False).shards[0]
        return SeatedShard, (ShardActorSpec(seat, self.store, self.token), holds)

    def worker(self, number: int) -> tuple[type, tuple[Any, ...]]:
        """See Crew."""
        return WorkingWorker, (self.job, self.token, number)

    def replica(self, number: int) -> tuple[type, tuple[Any, ...]]:
        """See Crew."""
        return ServingReplica, (self.job, self.token, number)


class WorkingWorker(WorkerActor):
    """A worker that reports from the start."""

    def __init__(self, job: Shipped, token: str, number: int) -> None:
        """Raises what resolving the job does, and SourceError where the stream is not there."""
        settle()
        super().__init__(partial(_make_worker, job, token, number))
        self.run()


class ServingReplica(ReplicaActor):
    """A replica that listens and reports from the start."""

    def __init__(self, job: Shipped, token: str, number: int) -> None:
        """Raises what resolving the job does, and ServerStartError."""
        settle()
        super().__init__(partial(_make_replica, job, token, number))
        self.run()


def node() -> tuple[str, str]:
    """This machine as people know it, and the address by which the cluster does."""
    import ray

    address: str = ray.util.get_node_ip_address()
    return f"{socket.gethostname()} ({address})", address


def _make_worker(job: Shipped, token: str, number: int) -> WorkerLoop:
    plan, clock = job.plan(source=True), SystemClock()
    warm_up(plan, duty="worker")
    train = plan.train
    return WorkerLoop(
        WorkerIdentity(number, uuid.uuid4().hex, node()[0], code_fingerprint()),
        WorkerSettings(
            metrics=train.metrics,
            quarantine=own_file(train.quarantine, number, plan.cluster.workers),
            prefetch_batches=train.prefetch_batches,
            staleness=plan.cluster.staleness,
            passes=train.passes,
        ),
        connect=partial(_connect, token, clock),
        open_stream=partial(open_stream, plan, clock),
        make_model=plan.make_model,
        layout=plan.examples.features.layout,
        coordination=ActorCoordination(job.name),
        clock=clock,
    )


def _make_replica(job: Shipped, token: str, number: int) -> ReplicaHost:
    plan, clock = job.plan(source=False), SystemClock()
    warm_up(plan, duty="replica")
    name, address = node()
    return ReplicaHost(
        number,
        shards=len(plan.shards),
        specs=plan.shard_specs,
        features=plan.examples.features,
        make_model=plan.make_model,
        config=plan.serve.servers[number],
        coordination=ActorCoordination(job.name),
        connect=partial(_connect, token, clock),
        store=None if plan.store is None else open_location(plan.store.url),
        clock=clock,
        fingerprint=code_fingerprint(),
        node=name,
        node_ip=address,
    )


def _connect(token: str, clock: Clock, leader: Leader, shards: int) -> RemoteShard:
    return RemoteShard(
        leader.address,
        leader.shard,
        shards,
        token=token,
        clock=clock,
        generation=leader.generation,
    )


def open_stream(
    plan: Plan,
    clock: Clock,
    cuts: Mapping[str, Sequence[int]],
    skips: Skips,
    partitions: Collection[str],
    state: GuardState | None,
) -> Iterator[tuple[int, Iterator[Prepared]]]:
    """How a worker reads what it owns of the job's stream: pass by pass, from where shards stand."""
    max_jump_s = plan.train.max_jump_s
    guard = None if max_jump_s is None else EventTimeGuard(round(max_jump_s * _US))
    if guard is not None and state is not None:
        guard.restore(state)
    for number, chunks in passes(plan, cuts, skips, only=partitions):
        yield number, prepare(chunks, plan.examples, guard, clock)


def own_file(file: Path | None, number: int, workers: int) -> Path | None:
    """A worker's own quarantine file: quarantine-3.jsonl for quarantine.jsonl, where it is not alone."""
    if file is None or workers == 1:
        return file
    return file.with_stem(f"{file.stem}-{number}")
