"""The cluster section of a job as a plan: how many processes, what they need, how far apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.plan import ClusterPlan, Needs

if TYPE_CHECKING:
    from cluster.job.blame import Blame
    from cluster.job.load import Job
    from cluster.job.settings import NeedsSection
    from cluster.plan import Plan

# What Ray has names of its own for; asking for them as something else would not be granted.
_NAMED = {"CPU": "num_cpus", "memory": "memory"}


@dataclass(frozen=True, slots=True)
class Spread:
    """Numbers of processes that whoever runs the job gives, instead of the job file. None: as there."""

    shards: int | None = None
    standbys: int | None = None
    workers: int | None = None
    replicas: int | None = None


def cluster_plan(job: Job, blame: Blame, spread: Spread | None = None) -> ClusterPlan:
    """The plan; what the section leaves out is as in one process. Raises JobFileError."""
    section, train = job.settings.cluster, job.settings.train
    if spread is not None and train.grain == "example":
        blame.refuse(
            ("train", "grain"),
            "found example; learning by example needs its only shard at hand, and on a cluster shards "
            "are processes of their own: set grain: batch, or run it without --cluster",
        )
    asked = spread or Spread()
    if section.start_timeout == 0:
        blame.refuse(("cluster", "start_timeout"), "found 0; set it above 0, 60s is usual")
    resources = section.resources
    return ClusterPlan(
        shards=_first(asked.shards, section.shards, train.shards),
        standbys=_first(asked.standbys, section.standbys, train.standbys),
        workers=_first(asked.workers, section.workers),
        replicas=section.replicas if asked.replicas is None else asked.replicas,
        staleness=section.staleness,
        shard_needs=_needs(resources.shard, "shard", blame),
        worker_needs=_needs(resources.worker, "worker", blame),
        replica_needs=_needs(resources.replica, "replica", blame),
        coordinator_needs=_needs(resources.coordinator, "coordinator", blame),
        standby_apart=section.standby_apart,
        replicas_apart=section.replicas_apart,
        start_timeout_s=section.start_timeout,
    )


def check_cluster(plan: Plan, blame: Blame) -> None:
    """Refuse what a job cannot be spread with. Raises JobFileError, saying what to change."""
    if plan.store is None:
        blame.refuse(
            ("store",),
            "is missing; on a cluster, processes are replaced from the block store: add store: "
            "{url: ...} that every machine reaches, or give --store URL",
        )
    if plan.store.url.startswith("memory:"):
        blame.refuse(
            ("store", "url"),
            f"found {plan.store.url}, which lives in one process; on a cluster every machine must "
            "reach the store: name a shared folder, s3://... or the like",
        )


def _needs(section: NeedsSection, role: str, blame: Blame) -> Needs:
    for name in section.custom:
        if name in _NAMED:
            blame.refuse(
                ("cluster", "resources", role, "custom", name),
                f"is no resource of the cluster's own; give it as {_NAMED[name]}",
            )
    return Needs(section.num_cpus, section.memory, dict(section.custom))


def _first(*numbers: int | None) -> int:
    """The first that is given; the last always is."""
    return next(number for number in numbers if number is not None)
