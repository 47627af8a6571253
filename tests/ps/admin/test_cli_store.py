"""The ps-admin command and a store: with the job that writes to it, or by itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

import pytest

from ps.block import Cursor
from ps.errors import StoreUnavailableError
from ps.store.catalog import Catalog
from ps.store.location import UNFINISHED
from ps.store.names import block_name
from ps.store.opening import open_location
from ps.store.restore import restore_shards
from ps.store.snapshots import create_snapshot
from tests.ps.admin.commands import COUNT_IMPORTS, DEADLINE_S, run
from tests.ps.admin.job import STORE
from tests.ps.admin.stores import SmallJob, make_store
from tests.ps.store.models import held, pulled, specs

if TYPE_CHECKING:
    from pathlib import Path

    from ps.admin.server import AdminServer
    from tests.ps.admin.job import RecordingJob


def test_the_job_that_writes_to_a_store_is_asked(
    server: AdminServer, job: RecordingJob, tmp_path: Path
) -> None:
    writer = SmallJob(tmp_path, admin=server.address)
    result = run("status", "-t", tmp_path)
    assert result.exit_code == 0, result.output
    assert "clicks  training" in result.output
    assert run("snapshot", "list", "-t", tmp_path).exit_code == 0
    assert run("inspect", "fid", "1:5", "-t", tmp_path).exit_code == 0
    assert run("reshard", "--shards", 3, "--yes", "-t", f"file://{tmp_path}").exit_code == 0
    assert [call[0] for call in job.calls] == ["status", "restore_points", "inspect_fid", "reshard"]
    writer.close()
    result = run("status", "-t", tmp_path)
    assert result.exit_code == 3
    assert f"nothing runs on store {tmp_path}; clicks (process" in result.stderr
    assert "ago. trilith train JOB.yaml goes on from it" in result.stderr
    assert len(job.calls) == 4


def test_a_job_that_cannot_be_reached_is_exit_code_3(server: AdminServer, tmp_path: Path) -> None:
    writer = SmallJob(tmp_path, admin=server.address)
    server.stop()
    result = run("status", "-t", tmp_path, "--timeout", 5)
    assert result.exit_code == 3
    assert f"{server.address}: no job answers there" in result.stderr
    writer.close()


def test_a_job_without_an_admin_service_is_named(tmp_path: Path) -> None:
    writer = SmallJob(tmp_path)
    result = run("pause", "training", "-t", tmp_path, "--json")
    assert result.exit_code == 3
    assert "writes to store" in result.stderr
    assert "has no admin service; give its job file one" in result.stderr
    assert json.loads(result.stdout)["error"] == "NothingRunsError"
    writer.close()


def test_the_loopback_of_another_machine_is_not_taken_for_ours(
    server: AdminServer, job: RecordingJob, tmp_path: Path
) -> None:
    writer = SmallJob(tmp_path, admin=server.address, elsewhere=True)
    result = run("status", "-t", tmp_path)
    assert result.exit_code == 3
    assert "can be reached on that machine only, so run ps-admin there" in result.stderr
    assert job.calls == []
    writer.close()


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["top"],
        ["tables"],
        ["rollback", "1", "--skip", "p:1-2", "--yes"],
        ["restore", "1", "--yes"],
        ["failover", "0"],
        ["pause", "training"],
        ["resume", "training"],
        ["expire"],
        ["snapshot", "create"],
    ],
    ids=" ".join,
)
def test_what_needs_a_running_job_says_so(tmp_path: Path, command: list[str]) -> None:
    make_store(tmp_path, epochs=1)
    before = sorted(tmp_path.rglob("*"))
    result = run(*command, "-t", tmp_path)
    assert result.exit_code == 3
    assert f"nothing runs on store {tmp_path}" in result.stderr
    assert ("JOB.yaml --from 1 " in result.stderr) == (command[0] == "restore")
    assert "trilith train JOB.yaml" in result.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_no_store_is_told(tmp_path: Path) -> None:
    result = run("status", "-t", tmp_path / "clicsk")
    assert result.exit_code == 3
    assert "it is no store: nothing was ever written there" in result.stderr
    assert not (tmp_path / "clicsk").exists()
    assert run("status", "-t", "nosuch://x").exit_code == 2


def test_finding_the_job_of_a_store_imports_nothing_heavy(
    server: AdminServer, tmp_path: Path
) -> None:
    writer = SmallJob(tmp_path, admin=server.address)
    done = subprocess.run(
        [sys.executable, "-c", COUNT_IMPORTS, "status", "-t", str(tmp_path)],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.returncode, done.stderr.strip()) == (0, "[]"), done.stderr
    writer.close()


def test_what_is_no_store_can_neither_be_read_nor_changed(tmp_path: Path) -> None:
    for command in (
        ["list"],
        ["verify"],
        ["diff", "1", "2"],
        ["prune", "--yes"],
        ["reshard", "--shards", "2", "--yes"],
        ["inspect", "fid", "1:2"],
        ["snapshot", "export", "1", str(tmp_path / "copy")],
        ["snapshot", "delete", "x", "--yes"],
    ):
        result = run(*command, "-t", tmp_path / "clicsk")
        assert result.exit_code == 2, command
        assert "is no store: nothing was ever written there" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store")
    make_store(path, epochs=4)
    catalog = Catalog(open_location(str(path)))
    create_snapshot(catalog, "v1", Cursor(2, 1), now_us=5)
    return path


class TestOneStore:
    """A store of four restore points, the second a snapshot, where nothing runs; nothing changes it."""

    def test_list(self, store: Path) -> None:
        for command in (["list"], ["snapshot", "list"]):
            result = run(*command, "-t", store)
            assert result.exit_code == 0, result.output
            assert "v1" in result.output
            points = json.loads(run(*command, "-t", store, "--json").stdout)["restore_points"]
            assert [point["epoch"] for point in points] == [1, 2, 3, 4]
            assert [point["pinned_by"] for point in points] == [None, "v1", None, None]
            assert points[3]["positions"] == {"p": 8}
            assert points[3]["shards"] == 2
            assert points[3]["aligned"] is True
            assert points[0]["bytes_to_read"] < points[3]["bytes_to_read"]

    def test_verify(self, store: Path) -> None:
        result = run("verify", "-t", store)
        assert result.exit_code == 0, result.output
        assert "4 of 4 restore points can be restored" in result.output
        found = json.loads(run("snapshot", "verify", "-t", store, "--json").stdout)
        assert [point["whole"] for point in found["restore_points"]] == [True] * 4
        assert (found["newest_whole_epoch"], found["damaged"]) == (4, [])
        for which in ("3", "v1"):
            found = json.loads(run("verify", which, "-t", store, "--json").stdout)
            assert [point["epoch"] for point in found["restore_points"]] == [
                int(which[-1]) + (which == "v1")
            ]

    def test_inspect(self, store: Path) -> None:
        slot = json.loads(run("inspect", "slot", 1, "-t", store, "--json").stdout)["slots"][0]
        assert slot["rows"] > 0
        assert len(slot["examples"]) == min(10, slot["rows"])
        example = slot["examples"][0]
        result = run("inspect", "fid", f"1:{example['identity']}", "-t", store, "--json")
        assert json.loads(result.stdout)["rows"] == [example]
        result = run("inspect", "fid", example["fid"], "-t", store)
        assert result.exit_code == 0, result.output
        assert f"1:{example['identity']}" in result.output
        assert "slot 1 of factors" in run("inspect", "slot", 1, "-t", store).output
        before = json.loads(run("inspect", "slot", 1, "-t", store, "--at", "v1", "--json").stdout)
        assert before["slots"][0]["rows"] < slot["rows"]
        assert run("inspect", "fid", "1:2", "--table", "x", "-t", store).exit_code == 2
        assert "no table has that slot" in run("inspect", "slot", 9, "-t", store).output

    def test_diff(self, store: Path) -> None:
        result = run("diff", "v1", "4", "-t", store)
        assert result.exit_code == 0, result.output
        assert "epoch 2 to 4" in result.output
        assert "factors" in result.output
        found = json.loads(run("diff", "v1", "4", "-t", store, "--json").stdout)
        assert (found["before_epoch"], found["after_epoch"]) == (2, 4)
        assert found["positions"] == {"p": [4, 8]}
        tables = {table["table"]: table for table in found["tables"]}
        assert tables["linear"]["added"] > 0
        same = json.loads(run("diff", "4", "4", "-t", store, "--json").stdout)
        assert {table["changed"] for table in same["tables"]} == {0}

    @pytest.mark.parametrize("which", ["9", "nosuch", "-1", "²"])
    def test_what_is_no_restore_point_is_told(self, store: Path, which: str) -> None:
        result = run("verify", "-t", store, "--json", "--", which)
        assert result.exit_code == 1
        assert json.loads(result.stdout)["error"] == "NoRestorePointError"
        assert "it has epochs 1 to 4, and snapshots v1: see ps-admin list" in result.stderr

    def test_dry_runs_and_refusals_change_nothing(self, store: Path) -> None:
        before = {file: file.read_bytes() for file in store.rglob("*") if file.is_file()}
        for command in (
            ["prune", "--keep-points", "1"],
            ["reshard", "--shards", "3"],
            ["snapshot", "delete", "v1"],
        ):
            result = run(*command, "--dry-run", "-t", store)
            assert result.exit_code == 0, result.output
            assert "would" in result.output
            assert json.loads(run(*command, "--dry-run", "--json", "-t", store).stdout)["dry_run"]
            result = run(*command, "-t", store)
            assert result.exit_code == 4
            assert "nothing was done" in result.stderr
        found = json.loads(
            run("prune", "--keep-points", 1, "--dry-run", "--json", "-t", store).stdout
        )
        assert found["restore_points"] == [1, 3]
        found = json.loads(run("reshard", "--shards", 3, "--dry-run", "--json", "-t", store).stdout)
        assert (found["shards_before"], found["shards_after"], found["epoch"]) == (2, 3, 5)
        assert found["rows"] > 0
        after = {file: file.read_bytes() for file in store.rglob("*") if file.is_file()}
        assert after == before

    def test_a_job_that_writes_without_an_admin_service_does_not_keep_others_from_reading(
        self, tmp_path: Path
    ) -> None:
        writer = SmallJob(tmp_path)
        writer.epoch()
        assert run("list", "-t", tmp_path).exit_code == 0
        assert run("verify", "-t", tmp_path).exit_code == 0
        assert run("inspect", "slot", 1, "-t", tmp_path).exit_code == 0
        for command in (["prune", "--yes"], ["reshard", "--shards", "3", "--yes"]):
            result = run(*command, "-t", tmp_path, "--json")
            assert result.exit_code == 4
            assert json.loads(result.stdout)["error"] == "StoreInUseError"
            assert "is being written by clicks (process" in result.stderr
        writer.close()


def test_reshard_makes_a_new_restore_point_of_the_same_model(tmp_path: Path) -> None:
    commits = make_store(tmp_path, epochs=3)
    result = run("reshard", "--shards", 3, "--yes", "--json", "-t", tmp_path)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["shards_before"], found["shards_after"], found["epoch"]) == (2, 3, 4)
    assert found["generation"] == 2
    location = open_location(str(tmp_path))
    made = Catalog(location).read(Cursor(4, 2))
    assert (made.worker, made.positions, made.rows) == (
        commits[-1].worker,
        commits[-1].positions,
        commits[-1].rows,
    )
    two = restore_shards(location, commits[-1], specs(2))
    three = restore_shards(location, made, specs(3))
    assert held(three) == held(two)
    assert pulled(three) == pulled(two)
    assert run("verify", "-t", tmp_path).exit_code == 0
    again = json.loads(run("reshard", "--shards", 2, "--yes", "--json", "-t", tmp_path).stdout)
    assert (again["shards_before"], again["epoch"], again["generation"]) == (3, 5, 3)
    assert run("reshard", "--shards", 0, "--yes", "-t", tmp_path).exit_code == 2


def test_prune_keeps_what_it_is_told_to(tmp_path: Path) -> None:
    make_store(tmp_path, epochs=4)
    result = run("prune", "--keep-points", 2, "--yes", "-t", tmp_path)
    assert result.exit_code == 0, result.output
    assert "deleted 2 restore points (epochs 1 to 2)" in result.output
    left = json.loads(run("list", "-t", tmp_path, "--json").stdout)["restore_points"]
    assert [point["epoch"] for point in left] == [3, 4]
    assert run("verify", "-t", tmp_path).exit_code == 0
    kept = run("prune", "--keep-age", "1h", "--keep-bytes", "20GiB", "--dry-run", "-t", tmp_path)
    assert kept.output == "would delete 0 restore points and 0 files, 0 B\n"
    one = run("prune", "--keep-bytes", "1", "--yes", "-t", tmp_path)
    assert "deleted 1 restore point (epoch 3) and " in one.output


def test_what_dead_writers_left_has_a_size(tmp_path: Path) -> None:
    make_store(tmp_path, epochs=2)
    (tmp_path / f"{block_name(0, Cursor(3, 1))}{UNFINISHED}1-0").write_bytes(bytes(5_000))
    for how in ("--dry-run", "--yes"):
        result = run("prune", how, "-t", tmp_path)
        assert "0 restore points and 1 file, 5 KiB\n" in result.output


@pytest.mark.parametrize("url", ["folder", "file"])
def test_an_export_is_a_store_of_its_own(tmp_path: Path, url: str) -> None:
    commits = make_store(tmp_path / "store", epochs=3)
    run("snapshot", "export", "2", tmp_path / "x", "-t", tmp_path / "store")
    copy = tmp_path / "copy"
    to = copy if url == "folder" else f"file://{copy}"
    result = run("snapshot", "export", 2, to, "-t", tmp_path / "store", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["epoch"], found["generation"], found["destination"]) == (2, 1, str(copy))
    shutil.rmtree(tmp_path / "store")
    result = run("verify", "-t", copy)
    assert result.exit_code == 0, result.output
    assert "1 of 1 restore points can be restored" in result.output
    location = open_location(str(copy))
    made = Catalog(location).read_epoch(2)
    assert made == commits[1]
    assert restore_shards(location, made, specs(2))
    again = run("snapshot", "export", 2, copy, "-t", tmp_path / "x")
    assert again.exit_code == 1
    assert "holds restore points already" in again.stderr


def test_a_copy_that_was_broken_off_can_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_store(tmp_path / "store", epochs=2)
    command = ["snapshot", "export", 2, tmp_path / "copy", "-t", tmp_path / "store"]

    def full(*_: object) -> NoReturn:
        raise StoreUnavailableError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("ps.admin.offline.export.encode_commit", full)
        result = run(*command)
        assert result.exit_code == 1
        assert "the disk is full" in result.stderr
    assert json.loads(run("list", "-t", tmp_path / "copy", "--json").stdout) == {
        "restore_points": []
    }
    assert run(*command).exit_code == 0


def test_snapshot_delete(tmp_path: Path) -> None:
    make_store(tmp_path, epochs=2)
    create_snapshot(Catalog(open_location(str(tmp_path))), "v1", Cursor(1, 1), now_us=5)
    result = run("snapshot", "delete", "v1", "--yes", "--json", "-t", tmp_path)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"dry_run": False, "snapshot": "v1", "epoch": 1}
    result = run("snapshot", "delete", "v1", "--yes", "-t", tmp_path)
    assert result.exit_code == 1
    assert "has no snapshot 'v1'" in result.stderr
    result = run("snapshot", "delete", "../x", "--yes", "-t", tmp_path)
    assert result.exit_code in (1, 2)


def test_damage_is_exit_code_5_and_named(tmp_path: Path) -> None:
    make_store(tmp_path, epochs=3)
    block = tmp_path / block_name(1, Cursor(3, 1))
    data = bytearray(block.read_bytes())
    data[len(data) // 2] ^= 1
    block.write_bytes(data)
    (tmp_path / "notes.txt").write_text("not mine", encoding="utf-8")
    result = run("verify", "-t", tmp_path)
    assert result.exit_code == 5
    assert "2 of 3 restore points can be restored, the newest of them epoch 2" in result.output
    assert f"{block_name(1, Cursor(3, 1))}: " in result.output
    assert "1 file is no store's: notes.txt" in result.output
    result = run("verify", "-t", tmp_path, "--json")
    assert result.exit_code == 5
    found = json.loads(result.stdout)
    assert [damaged["name"] for damaged in found["damaged"]] == [block_name(1, Cursor(3, 1))]
    assert found["newest_whole_epoch"] == 2
    assert found["strangers"] == ["notes.txt"]
    assert run("verify", "2", "-t", tmp_path).exit_code == 0
    assert run("verify", "3", "-t", tmp_path).exit_code == 5
    assert run("diff", "2", "3", "-t", tmp_path).exit_code == 5
    assert run("snapshot", "export", 3, tmp_path / "copy", "-t", tmp_path).exit_code == 5


def test_the_store_of_a_running_job_is_read_here(
    server: AdminServer, job: RecordingJob, tmp_path: Path
) -> None:
    make_store(tmp_path, epochs=2)
    job.state = replace(job.state, store=replace(STORE, url=str(tmp_path)))
    for command in (["verify"], ["diff", "1", "2"], ["snapshot", "export", "1", tmp_path / "copy"]):
        result = run(*command, "-t", server.address)
        assert result.exit_code == 0, result.output
    job.state = replace(job.state, store=replace(STORE, url="/no/such/folder"))
    result = run("verify", "-t", server.address)
    assert result.exit_code == 2
    assert "is a folder of ranker-1, where the job runs" in result.stderr
    job.state = replace(job.state, store=None)
    result = run("verify", "-t", server.address)
    assert result.exit_code == 1
    assert "needs a block store" in result.stderr
