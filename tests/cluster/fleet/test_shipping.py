"""A job on its way to other machines."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest

from cluster.fleet.names import belongs_to, coordinator_name, member_name, shard_group_name
from cluster.fleet.shipping import JobText
from cluster.job.resolve_cluster import Spread
from tests.cluster.jobs import write_job

if TYPE_CHECKING:
    from pathlib import Path


def shipped(folder: Path, *, spread: Spread | None = None, **changes: Any) -> JobText:
    options = {name: changes.pop(name) for name in ("store", "serve") if name in changes}
    file = write_job(folder, **{"store": {"url": "${WHERE:-kept}"}, **changes})
    return JobText.read(file, spread=spread or Spread(), **options)


def test_the_plan_is_the_same_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "there")
    job = shipped(tmp_path, spread=Spread(shards=3))
    here = job.plan(source=False)
    monkeypatch.delenv("WHERE")
    monkeypatch.chdir("/")
    there = pickle.loads(pickle.dumps(job)).plan(source=False)  # noqa: S301
    assert there.store == here.store
    assert there.store is not None
    assert there.store.url == str(tmp_path / "there")
    assert there.shards == here.shards
    assert there.source.partitions() == ()
    assert len(job.plan(source=True).source.partitions()) > 0


def test_a_store_that_is_given_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = shipped(tmp_path, store="other")
    monkeypatch.chdir("/")
    store = job.plan(source=False).store
    assert store is not None
    assert store.url == str(tmp_path / "other")


@pytest.mark.parametrize(
    ("section", "asked", "serve", "replicas"),
    [(None, None, False, 0), (None, None, True, 1), (3, None, False, 3), (3, 1, True, 1)],
)
def test_replicas_are_those_asked_for(
    tmp_path: Path, section: int | None, asked: int | None, serve: bool, replicas: int
) -> None:
    job = shipped(
        tmp_path,
        spread=Spread(replicas=asked),
        serve=serve,
        cluster={} if section is None else {"replicas": section},
    )
    plan = job.plan(source=False)
    assert plan.cluster.replicas == replicas
    assert len(plan.serve.servers) == replicas


def test_what_makes_another_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = shipped(tmp_path)
    assert job.difference(shipped(tmp_path)) is None
    said = job.difference(shipped(tmp_path, spread=Spread(shards=2)))
    assert said is not None
    assert "other options" in said
    monkeypatch.setenv("WHERE", "there")
    assert job.difference(shipped(tmp_path)) == said
    said = job.difference(shipped(tmp_path, train={"batch_size": 7}))
    assert said is not None
    assert "reads otherwise" in said


def test_names_say_whose_they_are() -> None:
    for name in (coordinator_name("a"), shard_group_name("a", 3), member_name("a", "shard-3.1")):
        assert belongs_to("a", name)
        assert not belongs_to("b", name)
    assert not belongs_to("a", coordinator_name("a.b"))
    assert not belongs_to("a.b", coordinator_name("a"))
