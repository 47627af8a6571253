"""The cluster section of job files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from cluster.cli.app import app
from cluster.errors import JobFileError
from cluster.job import job_schema, parse_job, resolve
from cluster.job.describe import cluster_facts
from cluster.job.no_source import NoSource
from cluster.job.resolve_cluster import Spread
from cluster.plan import ClusterPlan, Needs
from tests.cluster.jobs import job_text, write_job

if TYPE_CHECKING:
    from cluster.plan import Plan

STORE = {"url": "/shared/store"}


def plan_of(spread: Spread | None = None, **changes: Any) -> Plan:
    return resolve(
        parse_job(job_text(**changes), folder=Path("/jobs")), source=NoSource(), spread=spread
    )


def problem_of(spread: Spread | None = None, **changes: Any) -> str:
    with pytest.raises(JobFileError) as caught:
        plan_of(spread, **changes)
    assert len(caught.value.problems) == 1
    return str(caught.value)


def test_without_a_section_the_rest_of_the_job_decides() -> None:
    plan = plan_of(Spread(), store=STORE, train={"shards": 3, "standbys": 1})
    assert plan.cluster == ClusterPlan(shards=3, standbys=1)
    assert len(plan.shards) == 3


def test_a_section_in_full() -> None:
    needs = {"num_cpus": 2, "memory": "1GiB", "custom": {"ssd": 0.5}}
    section = {
        "shards": 2,
        "standbys": 1,
        "workers": 4,
        "replicas": 3,
        "staleness": 0,
        "resources": {"shard": needs, "worker": {"num_cpus": 0.5}},
        "standby_apart": "required",
        "replicas_apart": "required",
        "start_timeout": "2m",
    }
    plan = plan_of(Spread(), store=STORE, train={"shards": 5}, cluster=section)
    assert plan.cluster == ClusterPlan(
        shards=2,
        standbys=1,
        workers=4,
        replicas=3,
        staleness=0,
        shard_needs=Needs(2.0, 1 << 30, {"ssd": 0.5}),
        worker_needs=Needs(0.5),
        standby_apart="required",
        replicas_apart="required",
        start_timeout_s=120.0,
    )
    assert plan.cluster.shard_needs.bundle() == {"CPU": 2.0, "memory": float(1 << 30), "ssd": 0.5}
    assert (len(plan.shards), len(plan.serve.servers)) == (2, 3)


def test_whoever_runs_the_job_may_give_other_numbers() -> None:
    section = {"shards": 2, "standbys": 1, "workers": 4, "replicas": 3}
    plan = plan_of(Spread(3, 0, 1, 0), store=STORE, cluster=section)
    cluster = plan.cluster
    assert (cluster.shards, cluster.standbys, cluster.workers, cluster.replicas) == (3, 0, 1, 0)
    assert len(plan.shards) == 3
    assert plan.serve.servers == ()


def test_in_one_process_the_section_changes_nothing() -> None:
    section = {"shards": 2, "replicas": 3}
    plan = plan_of(train={"grain": "example"}, cluster=section)
    assert (len(plan.shards), plan.serve.replicas) == (1, 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"store": None}, "store: is missing; on a cluster, processes are replaced from the block"),
        ({"store": {"url": "memory://x"}}, "store.url: found memory://x, which lives in one"),
        ({"train": {"grain": "example"}}, "train.grain: found example; .* without --cluster"),
        ({"cluster": {"start_timeout": 0}}, "cluster.start_timeout: found 0; set it above 0"),
        ({"cluster": {"shards": 0}}, "cluster.shards: found 0"),
        ({"cluster": {"standby_apart": "never"}}, "'required' or 'preferred'"),
        ({"cluster": {"worker": 1}}, "unknown key, did you mean workers?"),
        (
            {"cluster": {"resources": {"shard": {"custom": {"CPU": 2}}}}},
            "cluster.resources.shard.custom.CPU: is no resource .* give it as num_cpus",
        ),
        ({"cluster": {"resources": {"shard": {"memory": "much"}}}}, "such as 500MB"),
    ],
)
def test_what_cannot_run_on_a_cluster_is_refused(changes: dict[str, Any], said: str) -> None:
    problem = problem_of(Spread(), **{"store": STORE, **changes})
    assert re.search(said, problem), problem


def test_the_schema_and_validate_show_the_section(tmp_path: Path) -> None:
    assert "cluster" in job_schema()["properties"]
    job = write_job(tmp_path, store={"url": "kept"}, cluster={"shards": 2, "workers": 3})
    result = CliRunner().invoke(app, ["job", "validate", str(job)])
    assert result.exit_code == 0, result.output
    assert "2 shard(s), 0 standby(s) each, 3 worker(s), 1 replica(s)" in result.output


def test_validate_says_what_stands_in_the_way() -> None:
    assert "it needs a store" in cluster_facts(plan_of())
    assert "by example" in cluster_facts(plan_of(train={"grain": "example"}))
