"""How many machines a load takes, from what one example and one row were measured to cost."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Costs:
    """What was measured, on one machine.

    *_cpu_s: of one example, over all processes of that kind. wire_bytes: between workers and shards,
    both ways. rows: distinct ones pulled and pushed for an example. row_bytes: in a shard's memory,
    index included; replica_row_bytes: in a replica's; block_row_bytes: in a block. compact_bytes_per_s:
    of a base that is written anew, by one thread.
    """

    worker_cpu_s: float
    shard_cpu_s: float
    wire_bytes: float
    rows: float
    row_bytes: float
    replica_row_bytes: float
    block_row_bytes: float
    compact_bytes_per_s: float


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine of a cloud has, and which share of it may be used in the long run."""

    cores: int = 16
    memory_bytes: float = 128e9
    network_bytes_per_s: float = 12.5e9 / 8
    busy_share: float = 0.7
    full_share: float = 0.8


@dataclass(frozen=True, slots=True)
class Need:
    """Machines of one role, by what limits them. figure: the sum in words."""

    role: str
    limit: str
    machines: int
    figure: str


def needs(
    costs: Costs,
    machine: Machine,
    *,
    examples_per_s: float,
    model_bytes: float,
    standbys: int = 1,
    replicas: int = 2,
) -> list[Need]:
    """What each role takes of each resource; a role needs the largest of its own."""
    cpu = machine.cores * machine.busy_share
    memory = machine.memory_bytes * machine.full_share
    network = machine.network_bytes_per_s * machine.busy_share
    wire = examples_per_s * costs.wire_bytes
    # Every example's rows count as touched anew: the most a block can hold.
    blocks = examples_per_s * costs.rows * costs.block_row_bytes
    copies = 1 + standbys
    served = model_bytes * costs.replica_row_bytes / costs.row_bytes
    return [
        _need("workers", "cpu", examples_per_s * costs.worker_cpu_s, cpu, "cores"),
        _need("workers", "network", wire, network, "bytes/s"),
        _need("shards", "cpu", examples_per_s * costs.shard_cpu_s, cpu, "cores"),
        _need("shards", "network", wire + blocks * (standbys + replicas + 1), network, "bytes/s"),
        _need(
            f"shards and {standbys} standby each", "memory", model_bytes * copies, memory, "bytes"
        ),
        _need(f"replicas ({replicas} copies)", "memory", served * replicas, memory, "bytes"),
    ]


def saturations(
    costs: Costs, machine: Machine, *, examples_per_s: float, model_bytes: float
) -> dict[str, float]:
    """How many times over what cannot be spread is asked for, most first; above 1 it does not fit."""
    memory = machine.memory_bytes * machine.full_share
    served = model_bytes * costs.replica_row_bytes / costs.row_bytes
    blocks = examples_per_s * costs.rows * costs.block_row_bytes
    found = {
        "a replica's memory: each holds all weights": served / memory,
        "one process compacts: as many bytes as blocks bring": blocks / costs.compact_bytes_per_s,
        "one replica's network: all blocks": blocks
        / (machine.network_bytes_per_s * machine.busy_share),
    }
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _need(role: str, limit: str, load: float, each: float, unit: str) -> Need:
    return Need(
        role, limit, max(1, math.ceil(load / each)), f"{load:,.3g} {unit}, {each:,.3g} each"
    )
