"""The machines of a cluster as something that loses power: all processes of one end at once."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

NUM_CPUS = 4


class Machines:
    """Those of a cluster, but for its head, which is never lost."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def alive(self) -> set[str]:
        """The Ray ids of all that are up, the head among them."""
        import ray

        return {node["NodeID"] for node in ray.nodes() if node["Alive"]}

    def ids(self) -> list[str]:
        """The Ray ids of those that may be lost, in the order they came."""
        return [found for node in self._nodes() if (found := self._id_of(node)) is not None]

    def lose(self, node_id: str) -> None:
        """Kill its raylet and everything below that, with -9."""
        node = next(node for node in self._nodes() if self._id_of(node) == node_id)
        roots = [info.process.pid for infos in node.all_processes.values() for info in infos]
        for pid in [*roots, *(below for root in roots for below in descendants(root))]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._cluster.remove_node(node, allow_graceful=False)

    def add(self) -> None:
        """A new one, which waits until it is part of the cluster."""
        self._cluster.add_node(num_cpus=NUM_CPUS)

    def _nodes(self) -> list[Any]:
        return sorted(self._cluster.worker_nodes, key=lambda node: node.raylet_socket_name)

    def _id_of(self, node: Any) -> str | None:
        import ray

        for one in ray.nodes():
            if one["Alive"] and one["RayletSocketName"] == node.raylet_socket_name:
                return str(one["NodeID"])
        return None


def descendants(pid: int) -> list[int]:
    """All processes below one, as they are now."""
    found: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found
