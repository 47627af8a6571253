"""Making the actors of a job: named, detached, started again without end, each in its room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

from cluster.fleet.names import NAMESPACE, belongs_to, coordinator_name, member_name
from cluster.fleet.placement import find_room

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ray.actor import ActorHandle

    from cluster.plan import Needs

# Threads of an actor: stay() keeps one; the rest for commands that take their time beside those that
# must not wait for them.
_THREADS = 16
# Reports take milliseconds each, but for those that wait for an operation under way.
_COORDINATOR_THREADS = 64
# Whoever waits for an actor that dies is told at once, and not after a second in which Ray finds out
# why: a standby took over 1.8 s after a kill, 0.8 s with this.
_WATCHFUL = {"RAY_timeout_ms_task_wait_for_death_info": "20"}


def make_member(
    job: str, member: str, actor: type, args: tuple[Any, ...], needs: Needs, room: str, bundle: int
) -> ActorHandle:
    """The actor of that name, made where there is none, in a bundle of a placement group.

    Raises ValueError where there is no such group.
    """
    strategy = PlacementGroupSchedulingStrategy(
        placement_group=find_room(room), placement_group_bundle_index=bundle
    )
    return _make(actor, args, needs, member_name(job, member), _THREADS, strategy)


def make_coordinator(job: str, actor: type, args: tuple[Any, ...], needs: Needs) -> ActorHandle:
    """The coordinator's actor: on this machine where there is room, so that what listens on its
    loopback can be reached by whoever started the job; elsewhere once this machine is gone.
    """
    here = ray.get_runtime_context().get_node_id()
    strategy = NodeAffinitySchedulingStrategy(here, soft=True)
    name = coordinator_name(job)
    return _make(actor, args, needs, name, _COORDINATOR_THREADS, strategy, _WATCHFUL)


def find_coordinator(job: str) -> ActorHandle | None:
    """The coordinator's actor; None where there is none."""
    try:
        return ray.get_actor(coordinator_name(job), namespace=NAMESPACE)
    except ValueError:
        return None


def names_of(job: str) -> list[str]:
    """The names of a job's actors that are there."""
    found = ray.util.list_named_actors()
    return sorted(name for name in found if belongs_to(job, name))


def end(name: str) -> None:
    """End an actor for good; where there is none: nothing."""
    try:
        ray.kill(ray.get_actor(name, namespace=NAMESPACE), no_restart=True)
    except ValueError:
        return


def _make(
    actor: type,
    args: tuple[Any, ...],
    needs: Needs,
    name: str,
    threads: int,
    strategy: object,
    environment: Mapping[str, str] | None = None,
) -> ActorHandle:
    return (
        ray.remote(actor)
        .options(
            name=name,
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1,
            max_task_retries=0,
            max_concurrency=threads,
            num_cpus=needs.num_cpus,
            memory=needs.memory_bytes,
            resources=dict(needs.custom) or None,
            scheduling_strategy=strategy,
            runtime_env=None if environment is None else {"env_vars": dict(environment)},
        )
        .remote(*args)
    )
