"""Good job files: what they come to."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cluster.job import load_job, parse_job, resolve
from cluster.job.document import parse_document
from cluster.job.no_source import NoSource
from cluster.job.section import parse_duration
from model.event_time import EventTimeSpec, OffsetClock
from model.features import Bucketised, Categorical, Cross, MultiValued, Numeric
from ps.admin.wording import format_duration
from ps.admission import AdmitAfter, AdmitAll
from ps.buckets import dense_owner, even_shard_map
from ps.optimizers import AdaGrad, FtrlProximal, RowwiseAdaGrad
from tests.cluster.jobs import job_text

if TYPE_CHECKING:
    from cluster.plan import Plan

EXAMPLES = Path(__file__).parents[2] / "examples"


def plan_of(**changes: Any) -> Plan:
    return resolve(parse_job(job_text(**changes)), source=NoSource())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("30s", 30.0),
        ("5m", 300.0),
        ("6h", 21_600.0),
        ("7d", 604_800.0),
        ("2w", 1_209_600.0),
        ("1h30m", 5_400.0),
        ("1.5h", 5_400.0),
        (90, 90.0),
        (0.5, 0.5),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "h", "5 hours", "-1s", -1, True, None, "1h 30"])
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["250ms", "30s", "5m", "6h", "30d", "2w"])
def test_a_duration_prints_as_it_is_written(text: str) -> None:
    assert parse_duration(format_duration(parse_duration(text))) == parse_duration(text)


def test_scalars_are_those_of_yaml_1_2() -> None:
    text = "a: off\nb: 1e-3\nc: 12:30\nd: 10_000\ne: '5'\nf: ~\ng: true\nh: 0.1.2\ni: -.5\n"
    document = parse_document(text, "t", Path(), {})
    assert document.root == {
        "a": "off",
        "b": 0.001,
        "c": "12:30",
        "d": 10_000,
        "e": "5",
        "f": None,
        "g": True,
        "h": "0.1.2",
        "i": -0.5,
    }


def test_environment_variables_are_expanded_before_scalars_are_read() -> None:
    text = "a: ${N}\nb: '${N}'\nc: ${GONE:-x/y}/z\nd: ${EMPTY:-7}\n"
    document = parse_document(text, "t", Path(), {"N": "3", "EMPTY": ""})
    assert document.root == {"a": 3, "b": "3", "c": "x/y/z", "d": 7}


def test_features_become_the_shared_specification() -> None:
    plan = plan_of(
        features=[
            {"name": "user", "kind": "categorical", "column": "uid"},
            {"name": "tags", "kind": "multi_valued", "separator": "|", "pooling": "mean"},
            {"name": "price", "kind": "numeric", "transform": "log1p", "missing": 0},
            {"name": "bucket", "kind": "bucketised", "column": "price", "boundaries": [1, 5]},
            {"name": "both", "kind": "cross", "of": ["user", "tags"], "slot": 99},
        ]
    )
    assert plan.examples.features.features == (
        Categorical("user", "uid", 1, "default"),
        MultiValued("tags", "tags", 2, "|", "mean", "default"),
        Numeric("price", "price", "log1p", missing=0.0),
        Bucketised("bucket", "price", 4, (1.0, 5.0), None, "default"),
        Cross("both", ("user", "tags"), 99, "sum", "default"),
    )


def test_a_range_in_a_name_stands_for_many_features() -> None:
    plan = plan_of(
        features=[
            {"name": "C{1..3}", "kind": "categorical"},
            {"name": "n{1..2}", "kind": "numeric", "column": "I{1..2}"},
        ]
    )
    names = [feature.name for feature in plan.examples.features.features]
    assert names == ["C1", "C2", "C3", "n1", "n2"]
    assert plan.examples.features.columns == ("C1", "C2", "C3", "I1", "I2")


def test_the_model_decides_what_is_left_out() -> None:
    logistic = plan_of().shards[0].tables[0]
    assert (logistic.width, logistic.initializer.kind) == (1, "zeros")
    assert isinstance(logistic.optimizer, FtrlProximal)
    fm = plan_of(model={"kind": "fm", "dim": 8}).shards[0].tables[0]
    assert (fm.width, fm.initializer.kind, fm.initializer.leading_zeros) == (9, "normal", 1)
    assert isinstance(fm.optimizer, AdaGrad)


def test_tables_slots_and_admission() -> None:
    plan = plan_of(
        model={"kind": "deepfm", "dim": 4, "hidden": [8]},
        features=[
            {"name": "u", "kind": "categorical", "ttl": "30d", "admission": {"after": 2}},
            {"name": "i", "kind": "categorical", "table": "items", "learning_rate": 0.5},
        ],
        tables={
            "items": {
                "optimizer": {"kind": "rowwise_adagrad", "learning_rate": 0.01},
                "capacity_rows": 10,
                "on_full": "evict",
            }
        },
        train={"shards": 3},
    )
    default, items = plan.shards[0].tables
    assert default.slots[0].ttl_s == 30 * 86_400
    assert default.slots[0].admission == AdmitAfter(2)
    assert isinstance(items.optimizer, RowwiseAdaGrad)
    assert items.capacity_rows == 4  # of ten, over three shards
    assert items.slots[0].learning_rate == 0.5
    assert items.slots[0].admission == AdmitAll()


def test_features_that_share_a_slot_share_its_policy() -> None:
    plan = plan_of(
        features=[
            {"name": "a", "kind": "categorical", "slot": 5, "ttl": "1d"},
            {"name": "b", "kind": "categorical", "slot": 5},
        ]
    )
    (policy,) = plan.shards[0].tables[0].slots
    assert (policy.slot, policy.ttl_s) == (5, 86_400)


def test_dense_variables_keep_the_deviation_the_model_asks_for() -> None:
    plan = plan_of(model={"kind": "deepfm", "dim": 4, "hidden": [8]}, train={"shards": 4})
    shapes = plan.make_model().dense_shapes()
    owners = even_shard_map(4)
    found = {v.name: (shard.shard, v) for shard in plan.shards for v in shard.dense}
    assert found.keys() == shapes.keys()
    for name, (shard, variable) in found.items():
        assert shard == dense_owner(name, owners)
        wanted = shapes[name].init_scale
        assert (variable.init_scale is None) == (wanted is None)
        if variable.init_scale is not None and wanted is not None:
            assert math.isclose(variable.init_scale / math.sqrt(3), wanted)


def test_published_formats_bring_label_and_event_time() -> None:
    synthetic = plan_of().examples
    assert synthetic.label.column == "click"
    assert synthetic.event_time == EventTimeSpec("event_ts_us", "us")
    csv = plan_of(source={"format": "csv", "path": "x"}, label={"column": "y"})
    assert isinstance(csv.examples.event_time, OffsetClock)
    assert csv.train.max_jump_s is None


def test_records_may_pass_for_time() -> None:
    plan = plan_of(event_time={"records_per_s": 500})
    assert plan.examples.event_time == OffsetClock(step_us=2_000)


def test_replicas_listen_on_ports_that_follow() -> None:
    plan = plan_of(serve={"replicas": 3, "listen": "0.0.0.0:9000", "metrics": "127.0.0.1:9100"})
    assert [server.port for server in plan.serve.servers] == [9000, 9001, 9002]
    assert [server.metrics_port for server in plan.serve.servers] == [9100, 9101, 9102]
    free = plan_of(serve={"replicas": 2, "listen": "127.0.0.1:0"})
    assert [server.port for server in free.serve.servers] == [0, 0]


def test_the_model_is_named_after_the_job_and_what_decides_its_rows() -> None:
    def name(**changes: Any) -> str:
        return plan_of(**changes).shards[0].model

    assert name().startswith("small@")
    assert name() == name(train={"batch_size": 7})
    others = [
        name(model={"kind": "fm"}),
        name(train={"seed": 2}),
        name(tables={"default": {"optimizer": {"kind": "sgd"}}}),
        name(features=[{"name": "user", "kind": "categorical"}]),
    ]
    assert len({name(), *others}) == 5


def test_relative_paths_start_from_the_job_file(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("u,y\n1,0\n2,1\n", encoding="utf-8")
    file = tmp_path / "job.yaml"
    file.write_text(
        job_text(
            source={"format": "csv", "path": "data.csv"},
            label={"column": "y"},
            features=[{"name": "u", "kind": "categorical"}],
            train={"quarantine": "bad.jsonl"},
        ),
        encoding="utf-8",
    )
    plan = resolve(load_job(file))
    assert list(plan.source.partitions()) == ["data.csv"]
    assert plan.train.quarantine == tmp_path / "bad.jsonl"


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.stem)
def test_examples_resolve(file: Path) -> None:
    plan = resolve(load_job(file), source=NoSource())
    assert plan.train.batch_size >= 1
    assert plan.make_model().row_width == plan.shards[0].tables[0].width
