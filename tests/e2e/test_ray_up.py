"""`ray up` for real, over SSH: a wheel on bare machines, a job on the cluster, and all of it gone again."""

from __future__ import annotations

import copy
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.e2e.ray_up.cluster import ROOT, Cluster, build_wheel, lend_compiled_kernels, missing_here
from tests.e2e.ray_up.machines import CannotIsolateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RECORDS = 20_000
JOB: dict[str, Any] = {
    "job": "small",
    "source": {"format": "synthetic", "records": RECORDS, "partitions": 2},
    "features": [
        {"name": "user", "kind": "categorical", "column": "user_id"},
        {"name": "item", "kind": "categorical", "column": "item_id"},
    ],
    "model": {"kind": "logistic"},
    "train": {"batch_size": 256},
    "serve": {"listen": "127.0.0.1:0"},
    # Two cores may be all there are.
    "cluster": {
        "resources": {
            role: {"num_cpus": 0.25} for role in ("shard", "worker", "replica", "coordinator")
        }
    },
}
# What `ray submit` copies to the head and runs there, with the Python that setup_commands made.
SCRIPT = """
import subprocess, sys
sys.exit(subprocess.run(["trilith", *sys.argv[1:]]).returncode)
"""
# Asked so often, a second or so each, until the job is up.
ASKED = 40
ON_HEAD = "~/trilith/jobs/job.yaml"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if why := missing_here():
        pytest.skip(why)
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def begin(wheel: Path, tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    begun: list[Cluster] = []

    def begin(*addresses: str) -> Cluster:
        try:
            begun.append(Cluster(tmp_path / "cluster", wheel, addresses))
        except CannotIsolateError as error:
            pytest.skip(
                "`ray up` begins with `ray stop`, which ends all of Ray on a machine, and machines of "
                f"this test's own cannot be had here: {error}"
            )
        return begun[-1]

    yield begin
    for cluster in begun:
        cluster.close()


def status_of(cluster: Cluster, store: Path) -> str:
    """What `ps-admin status` says once a replica has something to answer with."""
    for _ in range(ASKED):
        said = cluster.ray("exec", f"ps-admin status --json --target {store}", deadline_s=30.0)
        if said.code == 0 and re.search(r'"ready":\s*true', said.output):
            return said.output
    raise AssertionError(said.output)


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_cluster_comes_up_trains_and_goes_down(begin: Callable[..., Cluster]) -> None:
    cluster = begin("127.0.0.1")
    head = cluster.machines[0]
    store = cluster.folder / "store"
    job = {**JOB, "store": {"url": str(store)}}
    (cluster.jobs / "job.yaml").write_text(json.dumps(job))
    script = cluster.folder / "submitted.py"
    script.write_text(SCRIPT)

    up = cluster.ray("up", "--yes", deadline_s=120.0)
    assert up.code == 0, up.output
    assert "trilith 0." in up.output
    lend_compiled_kernels(head.home / "trilith/venv")

    trained = cluster.ray(
        "submit", script, "train", ON_HEAD, "--cluster", "auto", "--quiet", deadline_s=150.0
    )
    assert trained.code == 0, trained.output
    assert re.search(rf"examples .*{RECORDS:,}", trained.output), trained.output
    assert list((store / "commits").iterdir())

    # Beside what an operator looks at, the job goes on from what was learned, and answers.
    serving = cluster.begin_ray("exec", f"trilith serve {ON_HEAD} --cluster auto --quiet")
    status = status_of(cluster, store)
    assert re.search(rf'"examples":\s*{RECORDS}\b', status), status
    stopped = cluster.ray("exec", f"trilith stop {ON_HEAD}", deadline_s=60.0)
    assert stopped.code == 0, stopped.output
    # It says that somebody else has ended its job.
    assert serving.end(60.0).code == 1

    down = cluster.ray("down", "--yes", deadline_s=60.0)
    assert down.code == 0, down.output
    assert head.processes() == []


@pytest.mark.parametrize("name", ["config.yaml", "config.local.yaml"])
def test_the_configs_are_what_ray_reads(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((ROOT / "cluster" / name).read_text())
    validate_config(prepare_config(copy.deepcopy(config)))
    assert config["file_mounts"]["~/trilith/wheel"] == "dist"
    assert (ROOT / config["file_mounts"]["~/trilith/jobs"]).is_dir()
