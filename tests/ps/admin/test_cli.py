"""The ps-admin command and a running job: what it prints, asks, and exits with."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any

import pytest

from ps.admin.reports import (
    DamagedFile,
    ExportReport,
    SnapshotDeletion,
    VerifiedPoint,
    VerifyReport,
)
from ps.admin.server import AdminServer
from ps.admin.target import (
    AdminSettings,
    FailoverReport,
    JobStatus,
    PruneReport,
    ReplicaStatus,
    ReshardReport,
    RestorePoint,
    RollbackReport,
    ShardStatus,
    StoreStatus,
    TableStatus,
)
from ps.errors import JobBusyError, NoRestorePointError, NoStoreError
from ps.inspected import InspectedRow, InspectedSlot
from tests.ps.admin.certificates import make_certificate
from tests.ps.admin.commands import COUNT_IMPORTS, DEADLINE_S, run
from tests.ps.admin.job import BARE, FID, POINTS, POSITIONS, STATUS, TABLES, RecordingJob

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = [
    ["status"],
    ["top"],
    ["tables"],
    ["inspect", "fid"],
    ["inspect", "slot"],
    ["rollback"],
    ["restore"],
    ["reshard"],
    ["failover"],
    ["pause"],
    ["resume"],
    ["expire"],
    ["snapshot", "create"],
    ["snapshot", "list"],
    ["snapshot", "verify"],
    ["snapshot", "prune"],
    ["snapshot", "export"],
    ["diff"],
]
TOKEN = "a-token-of-the-test"  # noqa: S105


@pytest.fixture
def attended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody is there to be asked."""
    monkeypatch.setattr("ps.admin.cli.confirm.is_attended", lambda: True)


def as_json(value: Any) -> Any:
    """As it comes out of JSON again."""
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_shows_examples(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.output
    assert f"ps-admin {' '.join(command)}" in result.output
    assert "TRILITH_TARGET" in result.output


def test_help_says_what_exit_codes_mean() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert "Exit codes: 0 done" in result.output
    for command in {command[0] for command in COMMANDS} | {"list", "verify", "prune"}:
        assert f"│ {command} " in result.output


def test_status_for_people(server: AdminServer) -> None:
    result = run("status", "-t", server.address)
    assert result.exit_code == 0, result.output
    for part in (
        "clicks  training (publishing paused)",
        "pid 4711 on ranker-1, up 1 h 00 min",
        "examples 123,456,789",
        "auc 0.7500",
        "clicks/0 at 5,000, clicks/1 at 6,000",
        "not ready: no base yet",
        "9.50 s",
        "behind, epoch 1,200 committed 10.0 s ago, 40 restore points in 4.7 GiB",
        "left out after rollbacks: clicks/0:100-200, clicks/0:300-400",
        "quarantined: 15 (12 × not a number; 3 × no label)",
    ):
        assert part in result.output


def test_status_says_once_what_is_paused(server: AdminServer, job: RecordingJob) -> None:
    job.state = replace(STATUS, state="paused", paused=("training",))
    assert "clicks  paused (training)  model" in run("status", "-t", server.address).output


def test_status_of_a_job_of_nothing_yet(server: AdminServer, job: RecordingJob) -> None:
    job.state = replace(BARE, state="[red]odd", metrics={"auc": float("nan")})
    result = run("status", "-t", server.address)
    assert result.exit_code == 0, result.output
    assert "[red]odd" in result.output
    assert "store: none" in result.output
    assert json.loads(run("status", "-t", server.address, "--json").stdout)["metrics"] == {
        "auc": None
    }


def test_status_for_programs(server: AdminServer) -> None:
    result = run("status", "--json", TRILITH_TARGET=server.address)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == as_json(asdict(STATUS))


def test_top_looks_once_without_a_terminal(server: AdminServer, job: RecordingJob) -> None:
    for arguments in (("--once",), ()):
        result = run("top", "-t", server.address, *arguments)
        assert result.exit_code == 0, result.output
        assert "clicks  training" in result.output
    assert json.loads(run("top", "-t", server.address, "--json").stdout)["epoch"] == 1207
    assert job.calls == [("status",)] * 3


def test_top_paints_until_q_is_pressed(server: AdminServer, job: RecordingJob) -> None:
    terminal, inside = pty.openpty()
    command = [sys.executable, "-c", "from ps.admin.cli import main; main()"]
    with subprocess.Popen(
        [*command, "top", "-t", server.address, "--interval", "0.1"],
        stdin=inside,
        stdout=inside,
        stderr=inside,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "150", "LINES": "40"},
    ) as process:
        os.close(inside)
        painted = b""
        while b"q ends" not in painted or len(job.calls) < 3:
            painted += os.read(terminal, 65_536)
        os.write(terminal, b"q")
        assert process.wait(DEADLINE_S) == 0
    os.close(terminal)
    assert "training" in painted.decode(errors="replace")


def test_tables(server: AdminServer) -> None:
    result = run("tables", "-t", server.address)
    assert result.exit_code == 0, result.output
    assert "16 weights + 16 floats of state, 192 bytes a row; adagrad" in result.output
    assert "141 rows of at most 1,000 (by shard: 70, 71)" in result.output
    assert "seen 3 times" in result.output
    found = json.loads(run("tables", "-t", server.address, "--json").stdout)
    assert found == {"tables": as_json([asdict(table) for table in TABLES])}


@pytest.mark.parametrize("text", ["3:42", str(FID)])
def test_inspect_fid(server: AdminServer, job: RecordingJob, text: str) -> None:
    result = run("inspect", "fid", text, "-t", server.address)
    assert result.exit_code == 0, result.output
    assert "3:42" in result.output
    assert "no row" in result.output
    assert "0.5 -1.25" in result.output
    result = run("inspect", "fid", text, "--table", "users", "-t", server.address, "--json")
    rows = json.loads(result.stdout)["rows"]
    assert [(row["fid"], row["slot"], row["identity"]) for row in rows] == [
        (FID, 3, 42),
        (FID + 1, 3, 43),
    ]
    assert job.calls == [("inspect_fid", FID, None), ("inspect_fid", FID, "users")]


@pytest.mark.parametrize(
    "text", ["", "x", "3:hello", "65536:1", f"3:{1 << 48}", str(1 << 64), "-1", "٣:٤"]
)
def test_what_is_no_fid_is_exit_code_2(server: AdminServer, text: str) -> None:
    result = run("inspect", "fid", "-t", server.address, "--", text)
    assert result.exit_code == 2
    assert "is no fid: give an integer of 64 bits, or SLOT:INTEGER" in result.stderr


def test_inspect_slot(server: AdminServer, job: RecordingJob) -> None:
    result = run("inspect", "slot", 3, "--rows", 7, "-t", server.address)
    assert result.exit_code == 0, result.output
    assert "slot 3 of users  ttl 7 d; 141 rows" in result.output
    found = json.loads(run("inspect", "slot", 3, "-t", server.address, "--json").stdout)
    assert [slot["rows"] for slot in found["slots"]] == [141, 0]
    assert found["slots"][0]["examples"][0]["identity"] == 42
    assert job.calls == [("inspect_slot", 3, None, 7), ("inspect_slot", 3, None, 10)]
    assert run("inspect", "slot", 65_536, "-t", server.address).exit_code == 2


def test_snapshot_list_and_its_shorter_name(server: AdminServer) -> None:
    for command in (["snapshot", "list"], ["list"]):
        result = run(*command, "-t", server.address)
        assert result.exit_code == 0, result.output
        assert "2023-11-14 22:15:00" in result.output
        assert "v1" in result.output
        found = json.loads(run(*command, "-t", server.address, "--json").stdout)
        assert found == {"restore_points": as_json([asdict(point) for point in POINTS])}


def test_snapshot_create(server: AdminServer, job: RecordingJob) -> None:
    result = run("snapshot", "create", "before-launch", "-t", server.address)
    assert result.exit_code == 0, result.output
    assert result.stdout == "snapshot before-launch: epoch 1200, 140 rows on 2 shards\n"
    found = json.loads(run("snapshot", "create", "-t", server.address, "--json").stdout)
    assert found["epoch"] == 1200
    assert found["pinned_by"].startswith("at-20")
    assert run("snapshot", "create", "../x", "-t", server.address).exit_code == 2
    assert [call[0] for call in job.calls] == ["create_snapshot"] * 2


ROLLBACK = ["rollback", 1100, "--skip", "clicks/0:7000-9000"]
SKIPS = {"clicks/0": ((7000, 9000),)}
# Command, the calls of a dry run and of the deed, a word of what it says, keys of its JSON.
CHANGES: list[tuple[list[object], tuple[Any, ...], tuple[Any, ...], str, dict[str, Any]]] = [
    (
        ROLLBACK,
        ("rollback", 1100, SKIPS, True),
        ("rollback", 1100, SKIPS, False),
        "back from epoch 1207 to 1100",
        {"to_epoch": 1100, "rows_changed": 77, "skips": {"clicks/0": [[7000, 9000]]}},
    ),
    (
        ["restore", 1100],
        ("rollback", 1100, {}, True),
        ("rollback", 1100, {}, False),
        "left out: nothing\n  no longer left out: clicks/0:100-200, clicks/0:300-400",
        {"to_epoch": 1100, "skips": {}, "positions": POSITIONS},
    ),
    (
        ["reshard", "--shards", 3],
        ("reshard", 3, True),
        ("reshard", 3, False),
        "from 2 to 3 shards with 141 rows",
        {"shards_before": 2, "shards_after": 3, "rows": 141},
    ),
    (
        ["snapshot", "prune"],
        ("prune", True),
        ("prune", False),
        "2 restore points (epochs 1000 to 1001) and 44 files",
        {"restore_points": [1000, 1001], "files": 44, "bytes": 55_000},
    ),
    (["prune"], ("prune", True), ("prune", False), "44 files", {"files": 44}),
]
CHANGE_NAMES = [
    f"{change[0][0]} {change[0][1]}" if len(change[0]) > 1 else "prune" for change in CHANGES
]


@pytest.mark.parametrize("change", CHANGES, ids=CHANGE_NAMES)
class TestWhatCannotSimplyBeChangedBack:
    """Each has a dry run, and asks."""

    def test_a_dry_run_only_tells(
        self, server: AdminServer, job: RecordingJob, change: Any
    ) -> None:
        command, dry, _, words, keys = change
        result = run(*command, "--dry-run", "-t", server.address)
        assert result.exit_code == 0, result.output
        assert words in result.output
        assert "would" in result.output
        found = json.loads(run(*command, "--dry-run", "--json", "-t", server.address).stdout)
        assert found["dry_run"] is True
        assert {key: found[key] for key in keys} == keys
        assert job.calls == [dry, dry]

    def test_nobody_to_ask_is_exit_code_4(
        self, server: AdminServer, job: RecordingJob, change: Any
    ) -> None:
        result = run(*change[0], "--json", "-t", server.address)
        assert result.exit_code == 4
        assert "nothing was done" in result.stderr
        assert json.loads(result.stdout)["error"] == "NotConfirmedError"
        assert job.calls == []

    @pytest.mark.usefixtures("attended")
    def test_a_no_is_exit_code_4(self, server: AdminServer, job: RecordingJob, change: Any) -> None:
        command, dry, _, words, _ = change
        for says in ("n\n", "\n", ""):
            result = run(*command, "-t", server.address, says=says)
            assert result.exit_code == 4
            assert words in result.stderr
            assert "nothing was done" in result.stderr
        assert job.calls == [dry] * 3

    @pytest.mark.usefixtures("attended")
    def test_a_yes_does_it(self, server: AdminServer, job: RecordingJob, change: Any) -> None:
        command, dry, deed, words, _ = change
        result = run(*command, "-t", server.address, says="y\n")
        assert result.exit_code == 0, result.output
        assert words in result.stdout
        assert job.calls == [dry, deed]

    def test_yes_in_advance_does_it(
        self, server: AdminServer, job: RecordingJob, change: Any
    ) -> None:
        command, _, deed, _, keys = change
        result = run(*command, "--yes", "--json", "-t", server.address)
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        assert found["dry_run"] is False
        assert {key: found[key] for key in keys} == keys
        assert job.calls == [deed]


def test_skips_are_put_in_order_and_joined(server: AdminServer, job: RecordingJob) -> None:
    skips = ["a:b-c:5-9", "x:7-9", "x:1-3", "x:2-5", "x:5-6"]
    result = run(
        "rollback", 5, *(part for skip in skips for part in ("--skip", skip)),
        "--yes", "-t", server.address,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    wanted = {"a:b-c": ((5, 9),), "x": ((1, 6), (7, 9))}
    assert job.calls == [("rollback", 5, wanted, False)]


@pytest.mark.parametrize("skip", ["x", "x:1", "x:1-", ":1-2", "x:5-5", "x:9-5", "x:-1-5"])
def test_what_is_no_skip_is_exit_code_2(server: AdminServer, job: RecordingJob, skip: str) -> None:
    result = run("rollback", 5, "--skip", skip, "--yes", "-t", server.address)
    assert result.exit_code == 2
    assert f"--skip {skip!r}" in result.stderr
    assert job.calls == []


def test_a_rollback_that_skips_nothing_is_a_restore(server: AdminServer) -> None:
    assert run("rollback", 1100, "--yes", "-t", server.address).exit_code == 2


def test_limits_are_the_running_jobs_own(server: AdminServer, job: RecordingJob) -> None:
    result = run("prune", "--keep-points", 3, "--yes", "-t", server.address)
    assert result.exit_code == 2
    assert "a running job keeps what its job file says" in result.stderr
    assert job.calls == []


def test_the_other_operations(server: AdminServer, job: RecordingJob) -> None:
    result = run("failover", 1, "-t", server.address)
    assert result.exit_code == 0, result.output
    assert "shard 1 was replaced by its standby, at epoch 1206" in result.stdout
    assert json.loads(run("failover", 1, "-t", server.address, "--json").stdout) == {
        "shard": 1,
        "source": "standby",
        "generation": 4,
        "epoch": 1206,
        "positions": POSITIONS,
        "seconds": 0.25,
    }
    assert "training is paused" in run("pause", "training", "-t", server.address).stdout
    found = json.loads(run("pause", "publishing", "-t", server.address, "--json").stdout)
    assert found == {"paused": "publishing"}
    assert run("resume", "training", "-t", server.address).stdout == "training goes on\n"
    assert run("pause", "serving", "-t", server.address).exit_code == 2
    assert "12 of users" in run("expire", "-t", server.address).stdout
    found = json.loads(run("expire", "-t", server.address, "--json").stdout)
    assert found == {"rows_expired": {"users": 12, "items": 0}}
    assert [call for call in job.calls if call[0] in ("pause", "resume")] == [
        ("pause", "training"),
        ("pause", "publishing"),
        ("resume", "training"),
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (JobBusyError("no moment between two batches within 30 s"), 1),
        (NoRestorePointError("no restore point of epoch 5; there are 1100 and 1200"), 1),
        (NoStoreError("rollback"), 1),
        (RuntimeError("a defect"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_of_the_job_is_told(
    server: AdminServer, job: RecordingJob, error: Exception, code: int
) -> None:
    job.fails = error
    result = run("restore", 5, "--yes", "--json", "-t", server.address)
    assert result.exit_code == code
    found = json.loads(result.stdout)
    assert found["exit_code"] == code
    assert found["message"] in result.stderr
    if not isinstance(error, RuntimeError):
        assert (found["error"], found["message"]) == (type(error).__name__, str(error))


def test_no_target_is_exit_code_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRILITH_TARGET", raising=False)
    result = run("status")
    assert result.exit_code == 2
    assert "Give --target HOST:PORT or --target STORE, or set TRILITH_TARGET" in result.stderr


def test_nothing_there_is_exit_code_3(server: AdminServer) -> None:
    server.stop()
    result = run("status", "-t", server.address, "--timeout", 5, "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["error"] == "AdminUnreachableError"
    assert "no job answers there" in result.stderr


def test_the_token_comes_from_an_option_a_variable_or_a_file(
    job: RecordingJob, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n", encoding="utf-8")
    with AdminServer(job, AdminSettings(token=TOKEN)) as server:
        at = ["status", "-t", server.address]
        assert run(*at, "--token", TOKEN).exit_code == 0
        assert run(*at, TRILITH_ADMIN_TOKEN=TOKEN).exit_code == 0
        assert run(*at, "--token-file", file).exit_code == 0
        assert run(*at, TRILITH_ADMIN_TOKEN_FILE=str(file)).exit_code == 0
        wrong = run(*at, "--token", "wrong", "--json")
        assert wrong.exit_code == 4
        assert json.loads(wrong.stdout)["error"] == "AdminRefusedError"
        assert run(*at).exit_code == 4
        missing = run(*at, "--token-file", tmp_path / "none")
        assert missing.exit_code == 2
        assert "No such file" in missing.stderr


def test_tls_by_the_authority_named(job: RecordingJob, tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    settings = AdminSettings(token=TOKEN, tls_cert=cert.read_bytes(), tls_key=key.read_bytes())
    with AdminServer(job, settings) as server:
        at = ["status", "-t", server.address, "--token", TOKEN]
        assert run(*at, "--tls-ca", cert).exit_code == 0
        assert run(*at, TRILITH_ADMIN_TLS_CA=str(cert)).exit_code == 0
        assert run(*at, "--timeout", 5).exit_code == 3


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["status", "--json"], ["tables"], ["snapshot", "list"], ["--help"]],
    ids=" ".join,
)
def test_it_imports_nothing_heavy(server: AdminServer, arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COUNT_IMPORTS, *arguments],
        env={**os.environ, "TRILITH_TARGET": server.address},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.returncode, done.stderr.strip()) == (0, "[]"), done.stderr


# Scripts rely on these: add to them, and change none.
KEYS: dict[type, str] = {
    JobStatus: "job model version pid host started_us now_us state paused generation epoch examples "
    "examples_per_s event_ts_us metrics quarantined skips shards replicas store",
    ShardStatus: "shard generation epoch event_ts_us positions rows allocated_bytes pushes_applied "
    "pushes_repeated standby_epoch",
    ReplicaStatus: "address ready epochs generations rows staleness_p50_s staleness_p99_s last_error "
    "age_s",
    StoreStatus: "url state committed_epoch committed_us waiting_blocks waiting_bytes restore_points "
    "stored_bytes compacting last_error",
    TableStatus: "name width state_width optimizer initializer row_bytes rows rows_by_shard "
    "capacity_rows rows_admitted rows_expired rows_evicted occurrences_refused allocated_bytes slots",
    InspectedRow: "table fid slot shard bucket present last_seen_s expires_s weights state occurrences",
    InspectedSlot: "table slot settings rows oldest_seen_s newest_seen_s examples",
    RestorePoint: "epoch generation created_us event_ts_us shards positions rows bytes_to_read aligned "
    "pinned_by",
    PruneReport: "dry_run restore_points files bytes",
    RollbackReport: "dry_run from_epoch to_epoch epoch generation positions skips rows_changed "
    "rows_removed seconds learned_again",
    ReshardReport: "dry_run shards_before shards_after epoch generation rows seconds",
    FailoverReport: "shard source generation epoch positions seconds",
    VerifyReport: "url files bytes restore_points newest_whole_epoch damaged unneeded strangers",
    VerifiedPoint: "epoch generation whole faulty_files",
    DamagedFile: "name fault",
    ExportReport: "source destination epoch generation files bytes",
    SnapshotDeletion: "dry_run snapshot epoch",
}


@pytest.mark.parametrize("kind", KEYS, ids=lambda kind: kind.__name__)
def test_the_keys_of_json_stay(kind: Any) -> None:
    assert {field.name for field in fields(kind)} >= set(KEYS[kind].split())
