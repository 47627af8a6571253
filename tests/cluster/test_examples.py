"""The job files in examples/ train as they stand, where their data is at hand."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.cli.app import app
from cluster.fleet.shipping import JobText
from cluster.job.resolve_cluster import Spread

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("TRILITH_DATA", ROOT.parent / "shared" / "data")).resolve()

# Which folder of the data each needs; the other MovieLens jobs differ in their models only.
EXAMPLES = {
    "movielens-lr": "movielens-1m-half",
    "movielens-deepfm": "movielens-1m-half",
    "criteo-deepfm": "criteo-10k",
    "avazu-lr": "avazu-10k",
    "synthetic": None,
    "synthetic-cluster": None,
    "custom-csv": None,
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_trains(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = EXAMPLES[name]
    if needed is not None and not (DATA / needed).is_dir():
        pytest.skip(f"needs {needed} where TRILITH_DATA points")
    monkeypatch.setenv("TRILITH_DATA", str(DATA))
    out = tmp_path / "figures.json"
    job = ROOT / "examples" / f"{name}.yaml"
    arguments = ["train", str(job), "--max-examples", "5000", "--json", str(out)]
    if name == "synthetic-cluster":
        arguments += ["--store", str(tmp_path / "kept")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["examples"] == (720 if name == "custom-csv" else 5_000)
    assert found["quarantined"] == 0
    assert found["auc"] > 0.55


def test_the_cluster_example_says_what_it_is_spread_over(tmp_path: Path) -> None:
    file = ROOT / "examples" / "synthetic-cluster.yaml"
    job = JobText.read(file, spread=Spread(), store=str(tmp_path / "kept"))
    plan = job.plan(source=True)
    assert (plan.cluster.shards, plan.cluster.standbys, plan.cluster.workers) == (2, 1, 2)
    assert len(plan.serve.servers) == 2
    assert len(plan.source.partitions()) >= plan.cluster.workers
    result = CliRunner().invoke(app, ["job", "validate", str(file)])
    assert result.exit_code == 0, result.output
    assert "2 shard(s), 1 standby(s) each, 2 worker(s), 2 replica(s)" in result.output
