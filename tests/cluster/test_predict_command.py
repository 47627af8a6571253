"""trilith predict against a real server in this process."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner, Result

from cluster.cli.app import app
from cluster.job import parse_job, resolve
from cluster.local import LocalRun
from ps.clock import SystemClock
from serving.client import PredictClient
from tests.cluster.jobs import job_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FEATURES = [
    {"name": "user", "kind": "categorical", "column": "user_id"},
    {"name": "item", "kind": "categorical", "column": "item_id"},
    {"name": "tags", "kind": "multi_valued", "column": "item_tags"},
    {"name": "age", "kind": "numeric", "column": "user_age", "missing": 38},
]


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    plan = resolve(parse_job(job_text(features=FEATURES, model={"kind": "fm", "dim": 4})))
    stop = threading.Event()
    with LocalRun(plan, clock=SystemClock(), serve=True) as run:
        run.start_servers()
        thread = threading.Thread(target=lambda: run.run(stop, hold=True))
        thread.start()
        with PredictClient(run.addresses, timeout_s=60.0) as client:
            while not client.get_model().ready:
                stop.wait(0.01)
        yield run.addresses[0]
        stop.set()
        thread.join()


def predict(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["predict", *map(str, arguments)], input=stdin)


def test_candidates_spelled_out(target: str) -> None:
    result = predict(
        "-t", target, "-x", "user_id=3,user_age=25", "-c", "item_id=1,item_tags=4|5", "-c", "item_id=2"
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "probability" in result.output
    assert "small@" in result.output


def test_the_answer_as_json(target: str) -> None:
    result = predict(
        "-t", target, "-x", "user_id=3", "-c", "item_id=1", "-c", "item_id=2", "--json"
    )
    assert result.exit_code == 0, result.output
    answer = json.loads(result.output)
    assert len(answer["probabilities"]) == 2
    assert all(0.0 < probability < 1.0 for probability in answer["probabilities"])
    assert answer["staleness_s"] >= 0


def test_candidates_of_a_file_and_of_standard_input(target: str, tmp_path: Path) -> None:
    lines = '{"item_id": 1, "item_tags": [4, 5]}\n\n{"item_id": 2}\n'
    file = tmp_path / "candidates.jsonl"
    file.write_text(lines, encoding="utf-8")
    of_file = predict("-t", target, "-x", "user_id=3", "-c", file, "--json")
    of_stdin = predict("-t", target, "-x", "user_id=3", "-c", "-", "--json", stdin=lines)
    assert of_file.exit_code == of_stdin.exit_code == 0
    one, other = json.loads(of_file.output), json.loads(of_stdin.output)
    assert len(one["probabilities"]) == 2
    assert one["candidates"] == other["candidates"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-x", "user_id=1", "-c", "itm_id=1"], "itm_id"),
        (["-x", "user_id=1", "-c", "item_id"], "neither a file nor name=value"),
        (["-x", "user_id=1,user_id=2", "-c", "item_id=1"], "user_id is given twice"),
        (["-x", "user_age=old", "-c", "item_id=1"], "takes a number"),
        (["-x", "user_id=1", "-c", "item_id=1", "-x", "item_id=2"], "send it in one"),
    ],
)
def test_wrong_requests_are_exit_code_2(target: str, arguments: list[str], said: str) -> None:
    result = predict("-t", target, *arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize(("line", "said"), [("[1]", "not a JSON object"), ("{", "not JSON")])
def test_wrong_lines_are_named(target: str, line: str, said: str) -> None:
    result = predict("-t", target, "-c", "-", stdin=f'{{"item_id": 1}}\n{line}\n')
    assert result.exit_code == 2
    assert "line 2" in result.output
    assert said in result.output


def test_nobody_there_is_exit_code_1() -> None:
    result = predict("-t", "127.0.0.1:1", "-c", "item_id=1", "--timeout", 1)
    assert result.exit_code == 1
    assert "127.0.0.1:1" in result.output
