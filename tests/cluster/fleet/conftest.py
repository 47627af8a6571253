"""One Ray cluster of three machines, all of them this one, for all tests of a module."""

from __future__ import annotations

import os

# Before Ray is imported: a head on loopback, and the death of a machine noticed in seconds: what is
# dead answers at once that nobody is there, what is only busy is given time.
os.environ |= {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_health_check_period_ms": "400",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_initial_delay_ms": "0",
    # Machines are started by forks of this process, in which gRPC's threads are not there.
    "GRPC_ENABLE_FORK_SUPPORT": "0",
    # Ray runs actors at 15, behind everything else on the machine, even these tests.
    "RAY_worker_niceness": "0",
}

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ray.cluster_utils import Cluster


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What dir:// stands for on the machines of the cluster."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def cluster(shared_folder: Path) -> Iterator[Cluster]:
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    patch = pytest.MonkeyPatch()
    patch.setenv("FSSPEC_DIR_TARGET_PROTOCOL", "file")
    patch.setenv("FSSPEC_DIR_PATH", str(shared_folder))
    try:
        cluster.add_node(
            num_cpus=4, node_name="one", include_dashboard=False, node_ip_address="127.0.0.1"
        )
        for name in ("two", "three"):
            cluster.add_node(num_cpus=4, node_name=name)
        yield cluster
    finally:
        patch.undo()
        cluster.shutdown()
