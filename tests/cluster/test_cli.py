"""The trilith command in this process: what it prints, writes and exits with."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner, Result

from cluster.cli.app import app
from tests.cluster.jobs import write_job

if TYPE_CHECKING:
    from pathlib import Path

CSV_JOB: dict[str, Any] = {
    "source": {"format": "csv", "path": "clicks.csv"},
    "event_time": {"column": "at", "unit": "iso"},
    "label": {"column": "clicked"},
    "features": [
        {"name": "who", "kind": "categorical"},
        {"name": "tags", "kind": "multi_valued", "separator": ";"},
        {"name": "price", "kind": "numeric"},
    ],
}
GOOD_LINE = "2026-01-01T00:00:{:02d}Z,u{},a;b,1.5,{}"


def trilith(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()


def write_csv(folder: Path, *extra: str) -> None:
    lines = ["at,who,tags,price,clicked"]
    lines += [GOOD_LINE.format(i, i % 7, i % 2) for i in range(60)]
    (folder / "clicks.csv").write_text("\n".join([*lines, *extra]) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    "command",
    [["demo"], ["train"], ["serve"], ["predict"], ["job", "validate"], ["job", "schema"]],
    ids=" ".join,
)
def test_every_command_shows_examples(command: list[str]) -> None:
    result = trilith(*command, "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.output
    assert f"trilith {' '.join(command)}" in result.output


def test_help_says_what_exit_codes_mean() -> None:
    result = trilith("--help")
    assert result.exit_code == 0
    for command in ("demo", "train", "serve", "predict", "job"):
        assert command in result.output
    assert "Exit codes" in result.output


def test_train_writes_its_figures(tmp_path: Path) -> None:
    out = tmp_path / "out" / "figures.json"
    job = write_job(tmp_path, train={"batch_size": 256, "metrics": {"group_by": ["device"]}})
    result = trilith("train", job, "--json", out, "--digest")
    assert result.exit_code == 0, result.output
    assert "progressive AUC" in result.output
    assert "end of stream" in result.output
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["job"] == "small"
    assert found["examples"] == 2_000
    assert 0.5 < found["auc"] < 1.0
    assert found["rows"] == found["rows_admitted"] - found["rows_expired"]
    assert found["quarantined"] == 0
    assert found["windows"]
    assert sum(group["examples"] for group in found["groups"]["device"].values()) == 2_000
    assert found["digest"] in result.output


def test_the_same_job_gives_the_same_digest(tmp_path: Path) -> None:
    def digest(**changes: Any) -> str:
        out = tmp_path / "figures.json"
        assert (
            trilith("train", write_job(tmp_path, **changes), "--json", out, "--digest").exit_code
            == 0
        )
        return str(json.loads(out.read_text(encoding="utf-8"))["digest"])

    assert digest() == digest()
    assert digest() != digest(source={"format": "synthetic", "records": 2_000, "seed": 2})


def test_max_examples_ends_the_stream_early(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    job = write_job(tmp_path)
    assert trilith("train", job, "--json", out, "--max-examples", 700).exit_code == 0
    assert json.loads(out.read_text(encoding="utf-8"))["examples"] == 700


def test_bad_records_are_counted_and_kept(tmp_path: Path) -> None:
    write_csv(
        tmp_path,
        "2026-01-01T00:01:00Z,u1,a,not a number,1",
        "2026-01-01T00:01:00Z,u1,a,1.0,maybe",
        "yesterday,u1,a,1.0,1",
        "too,few",
    )
    out = tmp_path / "figures.json"
    job = write_job(tmp_path, **CSV_JOB, train={"quarantine": "bad.jsonl"})
    result = trilith("train", job, "--json", out)
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text(encoding="utf-8"))
    assert (found["examples"], found["quarantined"]) == (60, 4)
    kept = [json.loads(line) for line in _lines(tmp_path / "bad.jsonl")]
    assert [entry["offset"] for entry in kept] == [60, 61, 62, 63]
    assert "not a number" in result.output


def test_a_bad_job_file_is_exit_code_2(tmp_path: Path) -> None:
    result = trilith("train", write_job(tmp_path, model={"kind": "fmm"}))
    assert result.exit_code == 2
    assert "job.yaml:1: model.kind" in result.output
    assert "Traceback" not in result.output


def test_a_column_the_data_lacks_is_told(tmp_path: Path) -> None:
    write_csv(tmp_path)
    features = [{"name": "whom", "kind": "categorical"}]
    result = trilith("train", write_job(tmp_path, **{**CSV_JOB, "features": features}))
    assert result.exit_code == 3
    assert "has no column whom" in result.output


def test_a_feature_of_the_wrong_type_is_exit_code_2(tmp_path: Path) -> None:
    features = [{"name": "tags", "kind": "categorical", "column": "item_tags"}]
    result = trilith("train", write_job(tmp_path, features=features))
    assert result.exit_code == 2
    assert "feature 'tags'" in result.output


def test_a_source_that_is_not_there_is_exit_code_3(tmp_path: Path) -> None:
    result = trilith("train", write_job(tmp_path, **CSV_JOB))
    assert result.exit_code == 3
    assert "no such file or folder" in result.output


def test_a_source_that_breaks_off_is_exit_code_3(tmp_path: Path) -> None:
    write_csv(tmp_path)
    whole = gzip.compress((tmp_path / "clicks.csv").read_bytes())
    (tmp_path / "clicks.csv.gz").write_bytes(whole[:-20])
    source = {"format": "csv", "path": "clicks.csv.gz"}
    result = trilith("train", write_job(tmp_path, **{**CSV_JOB, "source": source}))
    assert result.exit_code == 3
    assert "clicks.csv.gz" in result.output
    assert "progressive AUC" in result.output  # of what was learned before


def test_a_table_that_is_full_is_exit_code_1(tmp_path: Path) -> None:
    result = trilith("train", write_job(tmp_path, tables={"default": {"capacity_rows": 10}}))
    assert result.exit_code == 1
    assert "raise capacity_rows" in result.output


def test_wrong_usage_is_exit_code_2(tmp_path: Path) -> None:
    assert trilith("train").exit_code == 2
    assert trilith("train", write_job(tmp_path), "--max-examples", 0).exit_code == 2


def test_training_goes_on_from_its_store(tmp_path: Path) -> None:
    def figures(*arguments: object) -> dict[str, Any]:
        out = tmp_path / "figures.json"
        result = trilith("train", job, "--json", out, "--digest", *arguments)
        assert result.exit_code == 0, result.output
        said.append(result.output)
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return found

    said: list[str] = []
    job = write_job(tmp_path)
    whole = figures()
    store = tmp_path / "store"
    part = figures("--store", store, "--max-examples", 1_024)
    assert (part["examples"], part["examples_before"]) == (1_024, 0)
    found = figures("--store", store)
    assert f"resumed at epoch 2, 1,024 examples, from {store}" in said[-1]
    assert (found["examples"], found["examples_before"]) == (2_000, 1_024)
    for name in ("digest", "auc", "log_loss", "windows", "rows", "event_ts_us"):
        assert found[name] == whole[name], name
    # From an earlier restore point it comes to the same end.
    assert figures("--store", store, "--from", 2)["digest"] == whole["digest"]


def test_a_store_that_cannot_be_gone_on_from_says_why(tmp_path: Path) -> None:
    job, store = write_job(tmp_path, train={"batch_size": 250}), tmp_path / "store"
    assert trilith("train", job, "--from", 3).exit_code == 2
    assert trilith("train", job, "--reset", "default").exit_code == 2
    assert trilith("train", job, "--store", store, "--max-examples", 500).exit_code == 0
    missing = trilith("train", job, "--store", store, "--from", 99)
    assert missing.exit_code == 4
    assert "no restore point of epoch 99" in missing.output
    other = write_job(tmp_path, model={"kind": "fm", "dim": 4})
    changed = trilith("train", other, "--store", store)
    assert changed.exit_code == 2
    assert "table default: width is 5 in the job, 1 in the store" in changed.output
    assert "--reset NAME" in changed.output
    reset = trilith("train", other, "--store", store, "--reset", "default", "--reset", "linear")
    assert reset.exit_code == 0, reset.output
    assert f"from {store}, but for default, linear: begun afresh" in reset.output
    for typo in ("nope", "default.99", "linear.1"):
        refused = trilith("train", other, "--store", store, "--reset", typo)
        assert refused.exit_code == 2
        assert f"there is no {typo!r} to begin afresh" in refused.output
        assert "default, default.1, default.2, linear" in refused.output
    assert trilith("train", job, "--store", tmp_path / "new", "--reset", "nope").exit_code == 2
    elsewhere = trilith("train", job, "--store", "nosuch://bucket/store")
    assert elsewhere.exit_code == 2
    assert "Traceback" not in elsewhere.output


def test_nothing_is_compiled_for_a_start_that_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    from cluster import warmup
    from ps.clock import SystemClock
    from ps.store.claim import take_claim
    from ps.store.holder import Holder
    from ps.store.opening import open_location

    store = tmp_path / "store"
    assert trilith("train", write_job(tmp_path), "--store", store).exit_code == 0
    compiled: list[object] = []
    monkeypatch.setattr(warmup, "warm_up", lambda *_: compiled.append(1))
    job = write_job(tmp_path)
    assert trilith("train", job, "--from", 3).exit_code == 2
    assert trilith("serve", job, "--reset", "default").exit_code == 2
    assert trilith("train", job, "--store", store, "--from", 99).exit_code == 4
    assert trilith("train", job, "--store", store, "--reset", "nope").exit_code == 2
    other = write_job(tmp_path, model={"kind": "fm", "dim": 4})
    assert trilith("serve", other, "--store", store).exit_code == 2
    holder = Holder.of_this_process("another job")
    with take_claim(open_location(str(store)), holder, clock=SystemClock(), lease_s=60.0):
        assert trilith("train", other, "--store", store).exit_code == 4
    assert compiled == []
    assert trilith("train", write_job(tmp_path), "--store", store).exit_code == 0
    assert compiled == [1]


def test_a_store_another_process_writes_to_is_exit_code_4(tmp_path: Path) -> None:
    from ps.clock import SystemClock
    from ps.store.claim import take_claim
    from ps.store.holder import Holder
    from ps.store.opening import open_location

    job, store = write_job(tmp_path), tmp_path / "store"
    holder = Holder.of_this_process("another job")
    with take_claim(open_location(str(store)), holder, clock=SystemClock(), lease_s=60.0):
        result = trilith("train", job, "--store", store)
    assert result.exit_code == 4
    assert "is being written by another job" in result.output


def test_what_could_not_be_saved_is_exit_code_4(tmp_path: Path, monkeypatch: Any) -> None:
    from cluster.local import durability
    from ps.errors import StoreUnavailableError
    from ps.store.writer import StoreWriter

    def fail(self: StoreWriter, epoch: object) -> None:
        raise StoreUnavailableError("the disk is full; make room")

    monkeypatch.setattr(StoreWriter, "commit", fail)
    monkeypatch.setattr(durability, "_SAY_S", 0.1)
    monkeypatch.setattr(durability, "FLUSH_S", 0.1)
    result = trilith("train", write_job(tmp_path), "--store", tmp_path / "store")
    assert result.exit_code == 4
    assert "the disk is full" in result.output
    assert "progressive AUC" in result.output  # it has been learned, and is told


def test_validate_shows_what_a_job_comes_to(tmp_path: Path) -> None:
    write_csv(tmp_path, "yesterday,u1,a,1.0,1")
    result = trilith("job", "validate", write_job(tmp_path, **CSV_JOB))
    assert result.exit_code == 0, result.output
    for part in ("who", "multi_valued", "dense", "table default", "bytes a row", "linear"):
        assert part in result.output
    assert "of the first 61 records 60 can be learned from" in result.output.replace("\n", " ")


def test_validate_can_do_without_the_data(tmp_path: Path) -> None:
    job = write_job(tmp_path, **CSV_JOB)
    assert trilith("job", "validate", job, "--no-data").exit_code == 0
    result = trilith("job", "validate", job)
    assert result.exit_code == 3
    assert "table default" in result.output


def test_the_schema_knows_every_section() -> None:
    result = trilith("job", "schema")
    assert result.exit_code == 0
    schema = json.loads(result.output)
    assert {"job", "source", "features", "model", "tables", "train", "serve"} <= set(
        schema["properties"]
    )
    assert schema["additionalProperties"] is False
