"""The trilith command as a process of its own: signals, ports, exit codes."""

from __future__ import annotations

import gzip
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from serving.client import PredictClient
from tests.cluster.jobs import write_job

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
_ENDLESS = {"format": "synthetic", "records": None}
# Kernels may have to be compiled first.
_DEADLINE_S = 120.0


class Process:
    """A command under way, its standard error read line by line, ended at the latest by the test."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cluster", *map(str, arguments)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._watchdog = threading.Timer(_DEADLINE_S, self.process.kill)
        self._watchdog.start()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first line of standard error in which the pattern occurs."""
        assert self.process.stderr is not None
        seen = []
        for line in self.process.stderr:
            seen.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"{pattern!r} never came:\n{''.join(seen)}")

    def end(self, number: signal.Signals | None = None) -> tuple[int, str, str]:
        """Send a signal, if any, and wait: exit code, standard output, rest of standard error."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate()
        return self.process.returncode, out, err

    def close(self) -> None:
        self._watchdog.cancel()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start() -> Iterator[type[Process]]:
    started: list[Process] = []

    class Started(Process):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)
            started.append(self)

    yield Started
    for process in started:
        process.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_serve_answers_until_it_is_stopped(
    start: type[Process], tmp_path: Path, number: signal.Signals
) -> None:
    """While the stream goes on (SIGTERM) and after its end (SIGINT); the exit code is 0."""
    source = _ENDLESS if number == signal.SIGTERM else {"format": "synthetic", "records": 500}
    process = start("serve", write_job(tmp_path, source=source), "--quiet")
    target = process.wait_for(r"serving small on (\S+:\d+)")[1]
    if number == signal.SIGINT:
        process.wait_for("end of stream")
    with PredictClient(target, timeout_s=60.0) as client:
        pause = threading.Event()
        while not client.get_model().ready:
            pause.wait(0.05)
        answer = client.predict({"user_id": 1}, [{"item_id": 2}, {"item_id": 3}])
    assert len(answer.probabilities) == 2
    code, _, err = process.end(number)
    assert code == 0
    assert "small: stopped" in err
    cause = "SIGTERM" if number == signal.SIGTERM else "Ctrl-C"
    assert f"stopped by {cause}: finishing the calls under way" in err
    assert "end of stream" not in err
    assert "Traceback" not in err


def test_serve_outlives_a_source_that_breaks_off(start: type[Process], tmp_path: Path) -> None:
    rows = "".join(f"u{i % 7},{i % 2}\n" for i in range(5_000))
    whole = gzip.compress(f"user,clicked\n{rows}".encode())
    (tmp_path / "clicks.csv.gz").write_bytes(whole[:-20])
    job = write_job(
        tmp_path,
        source={"format": "csv", "path": "clicks.csv.gz"},
        label={"column": "clicked"},
        features=[{"name": "user", "kind": "categorical"}],
    )
    process = start("serve", job, "--quiet")
    target = process.wait_for(r"serving small on (\S+:\d+)")[1]
    process.wait_for("serving what was learned until then")
    with PredictClient(target, timeout_s=60.0) as client:
        assert len(client.predict({}, [{"user": "u1"}]).probabilities) == 1
    code, _, err = process.end(signal.SIGTERM)
    assert code == 3
    assert "clicks.csv.gz" in err


def test_an_interrupted_training_says_how_far_it_came(start: type[Process], tmp_path: Path) -> None:
    process = start("train", write_job(tmp_path, source=_ENDLESS), "--quiet")
    process.wait_for(r"\d+ examples")
    code, out, err = process.end(signal.SIGINT)
    assert code == 130
    assert "progressive AUC" in out
    assert "stopped by Ctrl-C" in err
    assert "end of stream" not in err
    assert "Traceback" not in err


def test_a_killed_training_goes_on_where_its_store_is(start: type[Process], tmp_path: Path) -> None:
    """Killed twice, then let run: the same digest as without a store."""

    def digest(out: str) -> str:
        found = re.search(r"digest\W+([0-9a-f]{32})", out)
        assert found is not None, out
        return found[1]

    source = {"format": "synthetic", "records": 300_000}
    plain = write_job(tmp_path, source=source)
    whole = digest(start("train", plain, "--quiet", "--digest").end()[1])
    store = {"url": "store", "commit_every": "50ms"}
    job = write_job(tmp_path, source=source, store=store)
    for attempt in range(2):
        process = start("train", job, "--quiet", "--digest")
        if attempt:
            process.wait_for(r"resumed at epoch \d+")
        process.wait_for("reaches this job at")
        threading.Event().wait(0.3)
        process.end(signal.SIGKILL)
    process = start("train", job, "--quiet", "--digest")
    process.wait_for(r"resumed at epoch \d+, [\d,]+ examples, from .*store")
    code, out, err = process.end()
    assert code == 0, err
    assert digest(out) == whole


def test_a_port_that_is_taken_is_exit_code_1(start: type[Process], tmp_path: Path) -> None:
    first = start("serve", write_job(tmp_path, source=_ENDLESS), "--quiet")
    target = first.wait_for(r"serving small on (\S+:\d+)")[1]
    serve = {"listen": target}
    code, _, err = start("serve", write_job(tmp_path, serve=serve), "--quiet").end()
    assert code == 1
    assert f"cannot listen on {target}" in err


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from cluster.cli.app import app; "
        "print(sorted({'numba', 'numpy', 'grpc', 'pyarrow', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
