"""Bad job files: every problem is one line that names the file, the line, the key and the remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cluster.errors import JobFileError
from cluster.job import load_job, parse_job, resolve
from cluster.job.no_source import NoSource
from tests.cluster.jobs import job_text

if TYPE_CHECKING:
    from pathlib import Path

_CSV = {"format": "csv", "path": "x.csv"}
_LABEL = {"column": "y"}


def problems_of(text: str) -> list[str]:
    with pytest.raises(JobFileError) as caught:
        resolve(parse_job(text, file="bad.yaml"), source=NoSource())
    return str(caught.value).splitlines()


def feature(**settings: Any) -> dict[str, Any]:
    return {"features": [{"name": "user", "kind": "categorical", **settings}]}


# What is changed in a good job -> what its one line must say.
WRONG_KEYS: list[tuple[dict[str, Any], list[str]]] = [
    ({"sorce": {}}, ["sorce: unknown key, did you mean source?", "allowed: job, source"]),
    ({"job": "no spaces"}, ["job: found", "no spaces"]),
    ({"source": {"format": "cvs", "path": "x"}}, ["source.format", "did you mean csv?", "parquet"]),
    ({"source": {"path": "x"}}, ["source.format: is missing", "allowed: ", "jsonl"]),
    ({"source": {"format": "csv"}}, ["source.path: is missing", "file, folder or glob"]),
    ({"source": None}, ["source: is missing", "a mapping with format: "]),
    ({"features": []}, ["features: found []", "at least 1 item"]),
    (feature(clumn="a"), ["features[user].clumn", "did you mean column?"]),
    (feature(kind="categoric"), ["features[user].kind", "did you mean categorical?"]),
    (feature(slot=70_000), ["features[user].slot: found 70000", "65535"]),
    (feature(ttl="30 days"), ['features[user].ttl: found "30 days"', "6h, 7d"]),
    (feature(admission={"after": 100_000}), ["admission.after: found 100000", "65535"]),
    (feature(admission={"probability": 0}), ["admission.probability: found 0", "greater than 0"]),
    ({"model": {"kind": "deepfn"}}, ["model.kind", "did you mean deepfm?", "logistic"]),
    ({"model": {"kind": "fm", "dims": 4}}, ["model.dims: unknown key, did you mean dim?"]),
    ({"model": {"kind": "fm", "dim": "4"}}, ['model.dim: found "4"', "a whole number"]),
    ({"train": {"grain": "examples"}}, ["train.grain: found", "'batch' or 'example'"]),
    ({"train": {"batch_size": 0}}, ["train.batch_size: found 0", "greater than 0"]),
    ({"train": {"metrics": {"windw": 3}}}, ["train.metrics.windw", "did you mean window?"]),
    ({"serve": {"listen": "8500"}}, ['serve.listen: found "8500"']),
    (
        {"tables": {"default": {"optimizer": {"kind": "adagrad", "learning_rat": 1}}}},
        ["tables.default.optimizer.learning_rat", "did you mean 'learning_rate'?"],
    ),
    (
        {"tables": {"default": {"optimizer": {"kind": "adagrad", "learning_rate": -1}}}},
        ["tables.default.optimizer.learning_rate", "is -1.0", "set it between"],
    ),
    (
        {"tables": {"default": {"optimizer": {"kind": "adamm"}}}},
        ["tables.default.optimizer.kind", "'adamm'", "did you mean 'adam'?"],
    ),
    (
        {"dense": {"optimizer": "adagrad"}},
        ['dense.optimizer: found "adagrad"', "{kind: adagrad, learning_rate: 0.05}"],
    ),
]

IMPOSSIBLE: list[tuple[dict[str, Any], list[str]]] = [
    (
        {"model": {"kind": "fm"}, "train": {"grain": "example"}},
        ["train.grain: found example", "this is fm", "set grain: batch"],
    ),
    (
        {"train": {"grain": "example", "shards": 2}},
        ["train.shards: found 2", "set shards: 1, or grain: batch"],
    ),
    (
        {
            "train": {"grain": "example"},
            "tables": {"default": {"initializer": {"kind": "normal", "scale": 0.1}}},
        },
        ["tables.default.initializer", "starts from zeros"],
    ),
    (
        {
            "train": {"grain": "example"},
            "features": [
                {"name": "user", "kind": "categorical"},
                {"name": "item", "kind": "categorical", "table": "b"},
            ],
            "tables": {"b": {}},
        },
        ["train.grain", "all features in one table", "b, default"],
    ),
    ({"tables": {"default": {"on_full": "evict"}}}, ["on_full", "add capacity_rows"]),
    ({"tables": {"other": {}}}, ["tables.other: no feature lives in this table"]),
    (feature(table="emb"), ["features[user].table: found emb", "add it to tables"]),
    (
        {"source": _CSV, "label": _LABEL, **feature(ttl="1d")},
        ["features[user].ttl", "events have no time", "add event_time"],
    ),
    (
        {"source": _CSV, "label": _LABEL, "tables": {"default": {"admission_window": "1d"}}},
        ["tables.default.admission_window", "events have no time"],
    ),
    (
        {"source": _CSV, "label": _LABEL, "features": [{"name": "hour", "kind": "hour_of_day"}]},
        ["features[hour].kind", "events have no time of day"],
    ),
    (feature(ttl="0.5s"), ["features[user].ttl", "below a second"]),
    (feature(admission={}), ["features[user].admission", "after: N or probability: P"]),
    (
        feature(admission={"after": 2, "probability": 0.5}),
        ["features[user].admission", "either after: N or probability: P"],
    ),
    ({"source": _CSV}, ["label: is missing", "positive_if"]),
    (
        {"label": {"column": "y", "positive_if": "4 or more"}},
        ["label", "4 or more", "is not a rule", ">= 4"],
    ),
    ({"event_time": {}}, ["event_time: give either column, or records_per_s"]),
    (
        {"event_time": {"column": "t", "unit": "s", "format": "%Y"}},
        ["event_time.format", "keep one"],
    ),
    (
        {"features": [{"name": "a", "kind": "categorical"}, {"name": "a", "kind": "numeric"}]},
        ["features[a].name: found a twice"],
    ),
    (
        {
            "features": [
                {"name": "user", "kind": "categorical"},
                {"name": "x", "kind": "cross", "of": ["user", "usr"]},
            ]
        },
        ["features[x].of: found usr", "did you mean user?"],
    ),
    (
        {"features": [{"name": "b", "kind": "bucketised"}]},
        ["features[b]", "give either boundaries or buckets"],
    ),
    (
        {
            "features": [
                {"name": "a", "kind": "categorical", "slot": 5, "ttl": "1d"},
                {"name": "b", "kind": "categorical", "slot": 5, "ttl": "2d"},
            ]
        },
        ["features[b]: shares slot 5", "a slot of its own"],
    ),
    (
        {"model": {"kind": "fm"}, "tables": {"default": {"initializer": {"kind": "normal"}}}},
        ["tables.default.initializer", "has scale 0", "give it a scale"],
    ),
    (
        {"model": {"kind": "fm"}, "features": [{"name": "age", "kind": "numeric"}]},
        ["model: model 'fm'", "at least one feature with fids"],
    ),
    ({"serve": {"listen": "h:65535", "replicas": 2}}, ["serve.listen", "ports end at 65535"]),
    ({"serve": {"sync_interval": 0}}, ["serve.sync_interval: found 0"]),
    ({"serve": {"tls": {"cert": "c"}}}, ["serve.tls.key: is missing"]),
    ({"train": {"max_jump": 0}}, ["train.max_jump: found 0", "null for any jump"]),
    ({"train": {"metrics": {"window": 0}}}, ["train.metrics", "window_s must be above 0"]),
]


@pytest.mark.parametrize(("changes", "said"), WRONG_KEYS + IMPOSSIBLE)
def test_a_bad_job_is_refused_in_one_line(changes: dict[str, Any], said: list[str]) -> None:
    lines = problems_of(job_text(**changes))
    assert len(lines) == 1
    assert lines[0].startswith("bad.yaml")
    for part in said:
        assert part in lines[0]


def test_every_problem_is_told_with_its_line() -> None:
    text = """\
job: many
source: {format: synthetic}
features:
  - {name: "C{1..3}", kind: categorical, ttl: soon}
  - name: age
    kind: numeric
    scale: -1
model:
  kind: fm
  dim: 0
"""
    lines = problems_of(text)
    assert [line.split(":")[1] for line in lines] == ["4", "7", "10"]
    assert "features[C1].ttl" in lines[0]
    assert "features[age].scale" in lines[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("- a\n- b\n", "is not a mapping"),
        ("job: [\n", "is not YAML"),
        ("job: a\njob: b\n", "bad.yaml:2: job: is given twice"),
        ("job: &x\n  a: *x\n", "refers to itself"),
        ("job: ${NO_SUCH_VARIABLE}\n", "NO_SUCH_VARIABLE is not set"),
        ('features:\n  - {name: "C{3..1}"}\n', "must run upwards"),
        ('features:\n  - {name: "C{1..3}", column: "c{1..2}"}\n', "another range"),
    ],
)
def test_what_is_no_job_file_is_refused(text: str, said: str) -> None:
    with pytest.raises(JobFileError) as caught:
        parse_job(text, file="bad.yaml", environment={})
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(JobFileError, match=r"none\.yaml: cannot be read: No such file"):
        load_job(tmp_path / "none.yaml")


def test_a_file_of_bytes_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_bytes(b"job: \xff\xfe")
    with pytest.raises(JobFileError, match="is not UTF-8"):
        load_job(file)
