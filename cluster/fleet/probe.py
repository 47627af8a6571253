"""Asking every machine of a cluster whether it can take part: code, Python, and the store."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

from cluster.errors import NodeFault, UnfitNodesError
from cluster.fleet import inquiry
from ps.clock import SystemClock
from ps.fingerprint import code_fingerprint, describe
from ps.store.identity import ensure_identity, read_identity
from ps.store.opening import open_location

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.clock import Clock

PROBE_S = 30.0


def check_nodes(store: str, *, deadline_s: float = PROBE_S, clock: Clock | None = None) -> int:
    """Ask all machines at once; how many there are. Makes the store one, where it is none yet.

    Needs a connection. Raises UnfitNodesError, naming every machine at fault; what this machine's own
    view of the store raises: StoreError, SpecError.
    """
    import ray
    from ray import cloudpickle
    from ray.exceptions import GetTimeoutError, RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    created_us = _identity(store, clock or SystemClock())
    cloudpickle.register_pickle_by_value(inquiry)
    try:
        task = ray.remote(num_cpus=0, max_retries=0)(inquiry.inquire)
        asked = {
            task.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(store): node
            for node in ray.nodes()
            if node["Alive"]
        }
        ready, late = ray.wait([*asked], num_returns=len(asked), timeout=deadline_s)
    finally:
        cloudpickle.unregister_pickle_by_value(inquiry)
    faults = [
        NodeFault(node_name(asked[ref]), f"no answer in {deadline_s:g} s; see that it is alive")
        for ref in late
    ]
    for ref in late:
        ray.cancel(ref, force=True)
    for ref in ready:
        name = node_name(asked[ref])
        try:
            answer = ray.get(ref, timeout=deadline_s)
        except (RayError, GetTimeoutError) as error:
            faults.append(NodeFault(name, f"cannot be asked: {first_line(error)}"))
            continue
        faults += [NodeFault(name, fault) for fault in _faults(answer, store, created_us)]
    if faults:
        raise UnfitNodesError(sorted(faults, key=str))
    return len(asked)


def node_name(node: Mapping[str, Any]) -> str:
    """A machine as people know it: its name and its address. node: one of ray.nodes()."""
    name, address = node.get("NodeName") or "", node["NodeManagerAddress"]
    host = node.get("NodeManagerHostname") or address
    return f"{name if name and name != address else host} ({address})"


def first_line(error: BaseException) -> str:
    """What Ray says, without its pages of traces."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__


def _identity(store: str, clock: Clock) -> int | None:
    location = open_location(store)
    ensure_identity(location, clock.now_us())
    identity = read_identity(location)
    return None if identity is None else identity.created_us


def _faults(answer: Mapping[str, Any], store: str, created_us: int | None) -> list[str]:
    python = platform.python_version()
    if answer["python"].split(".")[:2] != python.split(".")[:2]:
        return [f"runs Python {answer['python']}, this machine {python}; install the same there"]
    if answer["trilith_fault"] is not None:
        return [f"trilith cannot be loaded ({answer['trilith_fault']}); install the wheel there"]
    if answer["fingerprint"] != code_fingerprint():
        other, own = describe(answer["fingerprint"]), describe(code_fingerprint())
        return [
            f"has other code: {other}; here it is {own}. Install the same wheel on every machine"
        ]
    if answer["store_fault"] is not None:
        return [f"cannot read the store {store} ({answer['store_fault']})"]
    if answer["store"] != created_us:
        found = "nothing" if answer["store"] is None else "another store"
        advice = "name a shared folder, or a URL that means the same everywhere"
        return [f"finds {found} at {store}, where this machine has the job's store; {advice}"]
    return []
