"""ps-admin and what is far away: stores that do not answer or cannot be seen, jobs that speak TLS."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from ps.admin.cli import waiting as waiting_module
from ps.admin.cli.waiting import waiting
from ps.admin.server import AdminServer
from ps.admin.target import AdminSettings
from tests.ps.admin.certificates import make_certificate
from tests.ps.admin.commands import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.ps.admin.job import RecordingJob

TOKEN = "a-token-of-the-test"  # noqa: S105


class FrozenFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """Never answers, until it is let go."""

    protocol: Any = "frozen"
    let_go = threading.Event()

    def find(self, path: str, **kwargs: Any) -> Any:
        self.let_go.wait()
        return super().find(path, **kwargs)

    def info(self, path: str, **kwargs: Any) -> Any:
        self.let_go.wait()
        return super().info(path, **kwargs)


@pytest.fixture
def frozen() -> Iterator[str]:
    """The URL of a store that does not answer."""
    fsspec.register_implementation("frozen", FrozenFileSystem, clobber=True)
    FrozenFileSystem.let_go = threading.Event()
    yield "frozen://models/clicks"
    FrozenFileSystem.let_go.set()
    for thread in threading.enumerate():
        if thread.name.startswith("store "):
            thread.join()


@pytest.mark.parametrize(
    "command", [["list"], ["verify"], ["status"], ["prune", "--dry-run"], ["diff", "1", "2"]]
)
def test_a_store_that_does_not_answer_is_told_of_and_given_up(
    frozen: str, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr(waiting_module, "_QUIET_S", 0.05)
    result = run(*command, "-t", frozen, "--timeout", 1.0)
    assert result.exit_code == 1, result.output
    assert "could not be" in result.stderr
    assert "within 1 s" in result.stderr
    # Before that, what it waits for.
    first = result.stderr.splitlines()[0]
    assert re.search(r" … \d+ s", first)
    assert f"looking who writes to {frozen}" in first or command[0] in ("verify", "diff")


def test_what_is_waited_for_inside_another_wait_is_said_by_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with waiting("outer") as outer:
        with waiting("inner") as inner:
            assert inner is outer
            assert outer.what == "inner"
            inner("inner, half")
        assert outer.what == "outer"
    with waiting("another") as other:
        assert other is not outer


def test_the_memory_of_another_process_is_told_from_an_empty_store() -> None:
    for command in ("status", "list"):
        result = run(command, "-t", "memory://nobody-knows")
        assert "this process has nothing in its memory" in result.stderr
        assert "never written" not in result.stderr
        assert "HOST:PORT of a running job" in result.stderr


def test_a_job_that_speaks_tls_is_hinted_at(job: RecordingJob, tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    settings = AdminSettings(token=TOKEN, tls_cert=cert.read_bytes(), tls_key=key.read_bytes())
    with AdminServer(job, settings) as server:
        at = ["status", "-t", server.address, "--token", TOKEN]
        result = run(*at)
        assert result.exit_code == 3
        assert "if the job speaks TLS, give --tls-ca" in result.stderr
        assert run(*at, "--tls-ca", cert).exit_code == 0
    nobody = run(*at)
    assert nobody.exit_code == 3
    assert "TLS" not in nobody.stderr


def test_only_what_changes_something_goes_on_after_it_was_given_up(
    server: AdminServer, job: RecordingJob
) -> None:
    job.hold = threading.Event()
    try:
        for command, goes_on in (
            (["tables"], False),
            (["list"], False),
            (["rollback", 1100, "--skip", "clicks/0:1-2", "--dry-run"], False),
            (["rollback", 1100, "--skip", "clicks/0:1-2", "--yes"], True),
            (["pause", "training"], True),
        ):
            result = run(*command, "-t", server.address, "--timeout", 0.2)
            assert result.exit_code == 1
            assert "no answer within 0.2 s" in result.stderr
            assert ("what had begun goes on there" in result.stderr) == goes_on
    finally:
        job.hold.set()
