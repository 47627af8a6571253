"""What the actors and placement groups of a job are called, in a namespace of our own."""

from __future__ import annotations

import re

NAMESPACE = "trilith"

_MEMBER = re.compile(r"(coordinator|shard-\d+(\.\d+)?|worker-\d+|replica-\d+|workers|replicas)")


def coordinator_name(job: str) -> str:
    """The actor of the coordinator."""
    return f"{job}.coordinator"


def seat_name(shard: int, seat: int) -> str:
    """One seat of a shard, for people."""
    return f"shard-{shard}.{seat}"


def shard_group_name(job: str, shard: int) -> str:
    """The placement group of all seats of a shard."""
    return f"{job}.shard-{shard}"


def member_name(job: str, member: str) -> str:
    """The actor, or placement group, of a member: shard-3.1, worker-0, replica-2, workers, ..."""
    return f"{job}.{member}"


def belongs_to(job: str, name: str) -> bool:
    """Whether an actor or placement group of this name is the job's."""
    prefix = f"{job}."
    return name.startswith(prefix) and _MEMBER.fullmatch(name[len(prefix) :]) is not None
