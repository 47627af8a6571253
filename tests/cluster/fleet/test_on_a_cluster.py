"""Jobs on a Ray cluster of three machines, from connecting to the last process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pytest
from typer.testing import CliRunner

from cluster.cli.app import app
from cluster.errors import (
    ClusterTooSmallError,
    JobFileError,
    JobNotRunningError,
    JobRunningError,
    UnfitNodesError,
)
from cluster.fleet.connect import connected
from cluster.fleet.launch import running, stopping
from cluster.fleet.shipping import JobText
from cluster.job import load_job, resolve
from cluster.job.resolve_cluster import Spread
from cluster.local import LocalRun
from ps.clock import SystemClock
from ps.errors import ShardUnavailableError, UnknownTableError
from ps.store.catalog import Catalog
from ps.store.opening import open_location
from ps.store.restore import restore_shards
from ps.store.resume import GoOnFrom
from tests.cluster.jobs import write_job
from tests.faults import jobs as faults

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from ray.cluster_utils import Cluster

    from cluster.fleet.launch import ClusterRun

REPOSITORY = Path(__file__).parents[3]
PACKAGES = ("ps", "model", "worker", "serving", "cluster")
PATIENCE_S = 90.0


@pytest.fixture(autouse=True)
def _nothing_is_left(cluster: Cluster) -> Iterator[None]:
    """Neither actors nor placement groups, whatever a test does."""
    yield
    with connected(cluster.address):
        import ray
        from ray.util.placement_group import placement_group_table

        assert ray.util.list_named_actors() == []
        groups = [one for one in placement_group_table().values() if one["state"] != "REMOVED"]
        assert groups == []


def on(
    cluster: Cluster, job: JobText, said: list[str] | None = None
) -> AbstractContextManager[ClusterRun]:
    heard = [] if said is None else said
    return running(job, cluster.address, wanted=GoOnFrom(), say=heard.append, step=heard.append)


class Faulty:
    """An actor that does nothing right."""

    def refuse(self) -> None:
        raise UnknownTableError("b", ["a"])

    def hang(self) -> None:
        threading.Event().wait(PATIENCE_S)

    def die(self) -> None:
        os._exit(1)


def test_errors_of_another_process_come_out_as_they_were(cluster: Cluster) -> None:
    with connected(cluster.address):
        import ray

        from cluster.fleet.calls import call

        actor = ray.remote(max_concurrency=2)(Faulty).remote()
        with pytest.raises(UnknownTableError) as caught:
            call("shard-0.0", actor, "refuse", PATIENCE_S)
        assert type(caught.value) is UnknownTableError
        assert (caught.value.table, caught.value.known) == ("b", ["a"])
        with pytest.raises(ShardUnavailableError, match=r"no answer to hang in 0\.1 s"):
            call("shard-0.0", actor, "hang", 0.1)
        with pytest.raises(ShardUnavailableError, match=r"shard-0\.0 does not answer"):
            call("shard-0.0", actor, "die", PATIENCE_S)
        with pytest.raises(ShardUnavailableError, match="has not been started yet"):
            call("shard-0.0", None, "refuse", PATIENCE_S)


def small(folder: Path, spread: Spread, **changes: Any) -> JobText:
    settings: dict[str, Any] = {
        "store": {"url": "kept"},
        "source": {"format": "synthetic", "records": 10_000, "partitions": 2},
        "cluster": {"staleness": 0},
        **changes,
    }
    return JobText.read(write_job(folder, **settings), spread=spread)


def test_one_worker_and_one_shard_end_where_one_process_does(
    cluster: Cluster, tmp_path: Path
) -> None:
    job = small(tmp_path, Spread(shards=1, workers=1))
    plan = resolve(load_job(job.file), store=str(tmp_path / "local"))
    with LocalRun(plan, clock=SystemClock(), serve=False) as here:
        expected = here.run()
        digest, metrics = here.digest(), here.metrics.to_dict()
    with on(cluster, job) as run:
        glance = run.follow(threading.Event(), lambda _: None)
        outcome = run.finish(digest=True)
    assert glance is not None
    assert glance.failure is None
    assert outcome.digest == digest
    assert outcome.metrics == metrics
    for name in ("examples", "rows", "rows_admitted", "event_ts_us", "auc", "log_loss"):
        assert getattr(outcome.progress, name) == getattr(expected, name), name
    assert outcome.progress.finished
    assert not outcome.progress.stopped


def counts(store: str, job: JobText) -> dict[int, float]:
    """The weights that the newest restore point has, by fid."""
    location = open_location(store)
    commit = Catalog(location).newest_whole()
    assert commit is not None
    found: dict[int, float] = {}
    specs = job.plan(source=False).shard_specs(len(commit.shards))
    for shard in restore_shards(location, commit, specs):
        for spec in shard.spec.tables:
            rows = shard.table(spec.name).export()
            found |= dict(zip(rows.fids.tolist(), rows.weights[:, 0].tolist(), strict=True))
    return found


def kill_processes(*actors: str) -> None:
    """All of them, at one moment."""
    import ray

    asked = [ray.get_actor(actor).__ray_call__.remote(lambda _: os.getpid()) for actor in actors]
    for pid in ray.get(asked, timeout=PATIENCE_S):
        os.kill(pid, signal.SIGKILL)


def test_counts_are_exact_with_the_coordinator_and_a_leader_killed(
    cluster: Cluster, tmp_path: Path
) -> None:
    records = 30_000
    stream = faults.write_stream(tmp_path, seed=5, records=records, partitions=4)
    file = faults.write_job(tmp_path, stream, model="counting", shards=2, store=tmp_path / "kept")
    job = JobText.read(file, spread=Spread(shards=2, standbys=1, workers=2, replicas=2))
    said: list[str] = []
    victims = ["killed.coordinator", "killed.shard-0.0"]
    with on(cluster, job, said) as run:

        def kill(progress: Any) -> None:
            # Without a leader of every shard nothing more is learned, so both are missed.
            if victims and progress.examples >= 2_000:
                kill_processes(*victims)
                victims.clear()

        glance = run.follow(threading.Event(), kill)
        assert glance is not None
        assert glance.failure is None
        assert len(glance.serving) == 2
        outcome = run.finish()
    assert not victims
    assert any("takes over" in one or "taken over" in one for one in said), said
    assert outcome.progress.finished
    found = counts(str(tmp_path / "kept"), job)
    assert {fid: count for fid, count in found.items() if count} == dict(stream.counts())
    # What was counted for metrics between the last restore point and the takeover is not known any more.
    assert 0 < outcome.progress.examples <= records


def attach_and_leave(run: ClusterRun) -> None:
    assert run.attached
    raise InterruptedError


def test_a_job_outlives_its_driver_can_be_attached_to_and_stopped(
    cluster: Cluster, tmp_path: Path
) -> None:
    job = small(
        tmp_path,
        Spread(),
        source={"format": "synthetic", "records": 1 << 40, "partitions": 2},
    )
    command = [sys.executable, "-m", "cluster", "train", job.file, "--quiet"]
    driver = subprocess.Popen(
        [*command, "--cluster", cluster.address],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert driver.stderr is not None
        for line in driver.stderr:
            if " examples " in line and "  0 examples" not in line:
                break
    finally:
        driver.kill()
        driver.communicate(timeout=PATIENCE_S)
    # The same job as a command line has it.
    with pytest.raises(InterruptedError), on(cluster, job) as run:
        attach_and_leave(run)
    other = JobText.read(Path(job.file), spread=Spread(), max_examples=7)
    with pytest.raises(JobRunningError, match="started with other options"), on(cluster, other):
        pass
    stopped = CliRunner().invoke(app, ["stop", job.file, "--cluster", cluster.address])
    assert stopped.exit_code == 0, stopped.output
    assert "saved epoch" in stopped.output
    again = CliRunner().invoke(app, ["stop", job.file, "--cluster", cluster.address])
    assert again.exit_code == 1
    assert "no job small runs on this cluster" in again.output
    assert counts(str(tmp_path / "kept"), job)


def test_a_stop_saves_and_ends(cluster: Cluster, tmp_path: Path) -> None:
    job = small(
        tmp_path, Spread(), source={"format": "synthetic", "records": 1 << 40, "partitions": 2}
    )
    stop = threading.Event()
    with on(cluster, job) as run:
        run.follow(stop, lambda progress: stop.set() if progress.examples else None)
        outcome = run.finish()
    assert outcome.progress.stopped
    assert outcome.unsaved is None
    assert outcome.progress.saved_epoch is not None
    with pytest.raises(JobNotRunningError), stopping("small", cluster.address):
        pass


def test_a_cluster_that_is_too_small_says_what_is_missing(cluster: Cluster, tmp_path: Path) -> None:
    section = {
        "start_timeout": "1s",
        "standby_apart": "required",
        "resources": {"worker": {"num_cpus": 3, "custom": {"ssd": 1}}},
    }
    job = small(tmp_path, Spread(standbys=3, workers=2), cluster=section)
    with pytest.raises(ClusterTooSmallError) as caught, on(cluster, job):
        pass
    said = str(caught.value)
    assert "wanted: shard 0 and its standby: 4 × 1 CPU each, on machines of their own" in said
    assert "wanted: workers: 2 × 3 CPU, 1 ssd each" in said
    assert "free:   one (127.0.0.1) has 4 CPU" in said
    assert "cluster.standby_apart" in said


def test_machines_that_cannot_take_part_are_named(
    cluster: Cluster, shared_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    altered = tmp_path / "altered"
    for package in PACKAGES:
        shutil.copytree(
            REPOSITORY / package,
            altered / package,
            ignore=lambda _, names: [n for n in names if n == "__pycache__" or "proto" in n],
        )
    with (altered / "ps" / "errors.py").open("a") as module:
        module.write("\n# Another release.\n")
    (tmp_path / "there").mkdir()
    monkeypatch.setitem(
        fsspec.config.conf, "dir", {"path": str(shared_folder), "target_protocol": "file"}
    )
    # Else Ray has workers look for modules where this process does.
    monkeypatch.chdir(tmp_path)
    job = small(tmp_path, Spread(), store={"url": "dir://kept"})
    other_code = cluster.add_node(
        num_cpus=1, node_name="old", env_vars={"PYTHONPATH": str(altered)}
    )
    other_store = cluster.add_node(
        num_cpus=1,
        node_name="lonely",
        env_vars={"FSSPEC_DIR_PATH": str(tmp_path / "there")},
    )
    try:
        with pytest.raises(UnfitNodesError) as caught, on(cluster, job):
            pass
    finally:
        cluster.remove_node(other_code, allow_graceful=False)
        cluster.remove_node(other_store, allow_graceful=False)
    said = {fault.node.split()[0]: fault.message for fault in caught.value.faults}
    assert "has other code: trilith" in said["old"]
    assert "finds nothing at dir://kept" in said["lonely"]


def test_what_cannot_run_on_a_cluster_is_refused_before_anything(tmp_path: Path) -> None:
    with pytest.raises(JobFileError, match="add store"):
        JobText.read(write_job(tmp_path), spread=Spread())


def test_numbers_of_processes_need_a_cluster(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["train", str(write_job(tmp_path)), "--shards", "2"])
    assert result.exit_code == 2
    assert "add --cluster auto" in result.output
