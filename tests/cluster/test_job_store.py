"""The store and admin sections of job files, and shards in another number."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from cluster.cli.app import app
from cluster.errors import JobFileError, RunError
from cluster.job import job_schema, load_job, parse_job, resolve
from cluster.job.describe import admin_facts, store_facts
from cluster.job.no_source import NoSource
from cluster.job.section import format_size, parse_size
from cluster.plan import AdminPlan, StorePlan, spread
from ps.buckets import even_shard_map
from ps.errors import SpecError
from tests.cluster.jobs import job_text, write_job

if TYPE_CHECKING:
    from cluster.plan import Plan
    from ps.shard import ShardSpec

EXAMPLES = Path(__file__).parents[2] / "examples"


def plan_of(**changes: Any) -> Plan:
    return resolve(parse_job(job_text(**changes)), source=NoSource())


def problem_of(**changes: Any) -> str:
    with pytest.raises(JobFileError) as caught:
        plan_of(**changes)
    assert len(caught.value.problems) == 1
    return str(caught.value)


def model_of(**changes: Any) -> str:
    return plan_of(**changes).shards[0].model


@pytest.mark.parametrize(
    ("text", "size"),
    [("0B", 0), ("1KiB", 1024), ("500MB", 500_000_000), ("20GiB", 20 << 30), ("1.5 GiB", 3 << 29),
     (7, 7)],
)  # fmt: skip
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize("text", ["", "5", "GiB", "5 gigabytes", "-1B", -1, 1.5, True, None])
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


def test_without_a_store_section_there_is_none() -> None:
    plan = plan_of()
    assert plan.store is None
    assert "none" in store_facts(plan)


def test_a_store_lies_beside_the_job_file_and_commits_with_every_epoch(tmp_path: Path) -> None:
    job = load_job(write_job(tmp_path, store={"url": "runs/store"}))
    plan = resolve(job, source=NoSource())
    assert plan.store == StorePlan(str(tmp_path / "runs/store"), commit_every_s=0.05)
    assert "every 50ms, kept: the latest 1,000" in store_facts(plan)


@pytest.mark.parametrize("url", ["s3://bucket/store", "memory://store", "file:///tmp/store"])
def test_a_url_stays_as_it_is(url: str) -> None:
    store = plan_of(store={"url": url}).store
    assert store is not None
    assert store.url == url


def test_a_store_section_in_full() -> None:
    plan = plan_of(
        store={
            "url": "memory://s",
            "commit_every": "5s",
            "keep": {"points": None, "age": "1d", "bytes": "20GiB"},
            "compact_after": {"share": 0.5, "blocks": 10, "memory": "1GiB"},
        }
    )
    assert plan.store == StorePlan("memory://s", 5.0, None, 86_400.0, 20 << 30, 0.5, 10, 1 << 30)
    assert store_facts(plan).endswith("kept: 1d back, within 20GiB")


def test_whoever_runs_the_job_may_name_another_store() -> None:
    text = job_text(store={"url": "a", "commit_every": "9s"})
    for job, every_s in ((text, 9.0), (job_text(), 0.05)):
        store = resolve(parse_job(job), source=NoSource(), store="elsewhere").store
        assert store is not None
        assert (store.url, store.commit_every_s) == (str(Path.cwd() / "elsewhere"), every_s)


def test_a_store_without_a_name_is_refused() -> None:
    with pytest.raises(JobFileError, match=r"store\.url: is empty"):
        resolve(parse_job(job_text()), source=NoSource(), store="")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"store": {}}, ["store.url: is missing", "relative to the job file"]),
        ({"store": {"url": "a", "keep": {"points": 0}}}, ["store.keep.points: found 0", "null"]),
        ({"store": {"url": "a", "keep": {"age": 0}}}, ["store.keep.age: found 0", "null"]),
        ({"store": {"url": "a", "keep": {"bytes": "0B"}}}, ["store.keep.bytes: found 0", "null"]),
        ({"store": {"url": "a", "keep": {"bytes": "much"}}}, ["store.keep.bytes", "20GiB"]),
        ({"store": {"url": "a", "commit_every": "1ms"}}, ["commit_every: found 1ms", "every 50ms"]),
        ({"store": {"url": "a", "compact_after": {"share": 0}}}, ["compact_after.share", "0"]),
        ({"store": {"url": "a", "compact_after": {"memory": 9}}}, ["memory: found 9", "512MiB"]),
        ({"train": {"standbys": 2}}, ["train.standbys: found 2", "less than or equal to 1"]),
    ],
)
def test_a_store_that_cannot_be_is_refused(changes: dict[str, Any], said: list[str]) -> None:
    problem = problem_of(**changes)
    for part in said:
        assert part in problem


def test_every_job_is_open_to_its_operator_and_to_nobody_else() -> None:
    plan = plan_of()
    assert plan.admin == AdminPlan("127.0.0.1", 0)
    assert admin_facts(plan) == "127.0.0.1, any free port, no token, no TLS"


def test_the_admin_service_may_be_off() -> None:
    for admin in ("null", "off"):
        text = job_text()[:-1] + f', "admin": {admin}}}'
        plan = resolve(parse_job(text), source=NoSource())
        assert plan.admin is None
        assert admin_facts(plan) == "off"


def test_an_admin_service_for_others_has_a_token_and_tls(tmp_path: Path) -> None:
    admin = {
        "listen": "192.0.2.1:7000",
        "token": "${ADMIN_TOKEN}",
        "tls": {"cert": "c.pem", "key": "k.pem"},
    }
    file = write_job(tmp_path, admin=admin)
    plan = resolve(load_job(file, {"ADMIN_TOKEN": "correct-horse"}), source=NoSource())
    assert plan.admin is not None
    assert (plan.admin.host, plan.admin.port) == ("192.0.2.1", 7000)
    assert "correct-horse" not in repr(plan.admin)
    with pytest.raises(RunError, match=r"c\.pem cannot be read .*correct admin\.tls"):
        plan.admin.settings()
    (tmp_path / "c.pem").write_bytes(b"cert")
    (tmp_path / "k.pem").write_bytes(b"key")
    settings = plan.admin.settings()
    assert (settings.token, settings.tls_cert, settings.tls_key) == (
        "correct-horse", b"cert", b"key",
    )  # fmt: skip


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "localhost", "[::1]"])
def test_loopback_needs_nothing(host: str) -> None:
    admin = plan_of(admin={"listen": f"{host}:7000"}).admin
    assert admin is not None
    assert admin.host == host


@pytest.mark.parametrize(
    ("admin", "said"),
    [
        ({"listen": "0.0.0.0:7000"}, "add admin.token and admin.tls, or listen on 127.0.0.1:7000"),
        ({"listen": "[::]:7000", "token": "x" * 8}, "add admin.tls, or"),
        ({"listen": "db.example:1", "tls": {"cert": "c", "key": "k"}}, "add admin.token, or"),
        ({"listen": "127.0.0.1:70000"}, "ports end at 65535"),
        ({"token": "short"}, "admin.token"),
        ({"tls": {"cert": "c"}}, "admin.tls.key: is missing"),
        ({"lissen": "x"}, "did you mean listen?"),
        ("on", "it should"),
    ],
)
def test_an_admin_service_that_cannot_be_is_refused(admin: Any, said: str) -> None:
    assert said in problem_of(admin=admin)


def test_the_schema_shows_the_sections() -> None:
    properties = job_schema()["properties"]
    assert {"store", "admin"} <= properties.keys()
    definitions = job_schema()["$defs"]
    assert {"url", "commit_every", "keep", "compact_after"} == set(
        definitions["StoreSection"]["properties"]
    )
    assert "standbys" in definitions["TrainSection"]["properties"]


def test_what_may_change_between_runs_leaves_the_models_name() -> None:
    user = {"name": "user", "kind": "categorical", "column": "user_id"}
    item = {"name": "item", "kind": "categorical", "column": "item_id"}
    same: list[dict[str, Any]] = [
        {"train": {"shards": 4}},
        {"train": {"batch_size": 9, "standbys": 1}},
        {"features": [{**user, "ttl": "1d"}, {**item, "admission": {"after": 2}}]},
        {"features": [{**user, "learning_rate": 0.5}, item]},
        {"tables": {"default": {"capacity_rows": 99, "on_full": "evict"}}},
        {"tables": {"default": {"optimizer": {"kind": "ftrl", "alpha": 0.7}}}},
        {"store": {"url": "memory://s"}, "admin": None},
    ]
    assert {model_of(**changes) for changes in same} == {model_of()}
    other: list[dict[str, Any]] = [
        {"features": [user, item, {"name": "device", "kind": "categorical"}]},
        {"features": [{**user, "slot": 40}, item]},
        {"tables": {"default": {"initializer": {"kind": "normal", "scale": 0.1}}}},
        {"dense": {"optimizer": {"kind": "adam"}}},
        {"model": {"kind": "fm", "dim": 4}},
        {"model": {"kind": "fm", "dim": 8}},
    ]
    assert len({model_of(), *(model_of(**changes) for changes in other)}) == len(other) + 1


def dense_of(specs: tuple[ShardSpec, ...]) -> list[set[str]]:
    return [{variable.name for variable in spec.dense} for spec in specs]


@pytest.mark.parametrize("shards", [1, 2, 3, 7])
def test_a_plan_knows_its_shards_in_any_number(shards: int) -> None:
    changes: dict[str, Any] = {
        "model": {"kind": "deepfm", "dim": 4, "hidden": [8]},
        "tables": {"default": {"capacity_rows": 100}},
    }
    plan = plan_of(**changes, train={"shards": 2})
    expected = plan_of(**changes, train={"shards": shards}).shards
    assert plan.shard_specs(shards) == expected
    assert resolve(
        parse_job(job_text(**changes)), source=NoSource(), shards=shards
    ).shards == expected  # fmt: skip
    by_hand = spread(plan.shards, shards)
    assert dense_of(by_hand) == dense_of(expected)
    assert [spec.shard for spec in by_hand] == list(range(shards))
    assert even_shard_map(shards).max() + 1 == len(by_hand)


def test_a_number_of_shards_that_cannot_be_is_refused() -> None:
    plan = plan_of()
    with pytest.raises(JobFileError, match=r"train\.shards: .*1 to 1,024"):
        plan.shard_specs(0)
    with pytest.raises(SpecError):
        spread(plan.shards, 2_000)
    by_example = plan_of(train={"grain": "example", "standbys": 1})
    with pytest.raises(JobFileError, match="found 2; learning by example needs its only shard"):
        by_example.shard_specs(2)


def test_validate_shows_store_admin_and_standbys(tmp_path: Path) -> None:
    job = write_job(tmp_path, store={"url": "kept"}, train={"standbys": 1})
    result = CliRunner().invoke(app, ["job", "validate", str(job)])
    assert result.exit_code == 0, result.output
    assert f"{tmp_path / 'kept'}, a restore point every 50ms" in result.output
    assert "127.0.0.1, any free port" in result.output
    assert "1 for each shard" in result.output


@pytest.mark.parametrize("name", ["synthetic", "custom-csv"])
def test_what_an_example_hints_at_works(name: str) -> None:
    text = (EXAMPLES / f"{name}.yaml").read_text("utf-8")
    plain, hints = text[: (at := text.index("# store:"))], text[at:]
    hints = re.sub(r"^# (?=store:|admin:|  )", "", hints, flags=re.MULTILINE)
    job = parse_job(
        plain + hints, folder=EXAMPLES, environment={"TRILITH_ADMIN_TOKEN": "0123-4567"}
    )
    plan = resolve(job, source=NoSource())
    assert plan.store is not None
    assert Path(plan.store.url).parent == EXAMPLES.parent / "runs"
    assert plan.admin is not None
    assert plan.admin.token == ("0123-4567" if name == "custom-csv" else None)
