"""Die between any two numbered steps of each protocol, and go on: as if nothing had happened."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ps.store.catalog import Catalog
from ps.store.opening import open_location
from tests.faults.jobs import write_job, write_stream
from tests.faults.killing import train_and_crash, train_whole
from tests.faults.marks import Mark, marks_in
from tests.faults.trainee import equal_counts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ALL = "TRILITH_FAULTS" in os.environ
OCCURRENCES = (1, 2) if ALL else (1,)
# What every run with a store goes through of itself.
TRAINING = marks_in(
    "ps/store/claim.py",
    "ps/store/writer.py",
    "ps/store/upkeep.py",
    "ps/store/retention.py",
)
OPERATIONS = [
    (operation, mark)
    for operation, file in (
        ("snapshot", "ps/store/snapshots.py"),
        ("rollback", "cluster/local/rollback.py"),
        ("reshard", "cluster/local/resharding.py"),
    )
    for mark in marks_in(file)
]


def test_every_protocol_has_its_steps_marked() -> None:
    assert len(TRAINING) >= 15
    assert len(OPERATIONS) >= 10


@pytest.mark.timeout(300)
@pytest.mark.parametrize("shards", [1, 4] if ALL else [2])
@pytest.mark.parametrize("mark", TRAINING, ids=str)
def test_a_crash_before_any_step_of_saving_loses_nothing(
    tmp_path: Path, mark: Mark, shards: int, record_property: Callable[[str, object], None]
) -> None:
    stream = write_stream(tmp_path, seed=3, records=6_000, partitions=2)
    job = write_job(tmp_path, stream, model="counting", shards=shards, store=tmp_path / "store")
    crashes = sum(train_and_crash(job, mark, occurrence) for occurrence in OCCURRENCES)
    assert crashes, "no run came to this step"
    record_property("crashes_between_steps", crashes)
    outcome = train_whole(job)
    assert equal_counts(outcome["counts"], stream.counts())
    assert outcome["examples"] == sum(map(len, stream.fids.values()))


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("operation", "mark"), OPERATIONS, ids=[f"{what}-{mark}" for what, mark in OPERATIONS]
)
def test_a_crash_in_an_operation_leaves_it_done_or_not_done(
    tmp_path: Path, operation: str, mark: Mark, record_property: Callable[[str, object], None]
) -> None:
    store = tmp_path / "store"
    stream = write_stream(tmp_path, seed=4, records=6_000, partitions=2)
    job = write_job(tmp_path, stream, model="counting", shards=2, store=store)
    # The snapshots on the way are what "snapshot" goes through; the others come to it once.
    assert train_and_crash(job, mark, 1, operation), "the run did not come to this step"
    record_property("crashes_between_steps", 1)
    outcome = train_whole(job)
    catalog = Catalog(open_location(str(store)))
    skips = catalog.read(catalog.points()[-1].at).skips
    assert equal_counts(outcome["counts"], stream.counts(skips))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("operation", ["rollback", "reshard", "snapshot"])
def test_an_operation_that_nobody_cuts_short_is_done(tmp_path: Path, operation: str) -> None:
    store = tmp_path / "store"
    stream = write_stream(tmp_path, seed=5, records=6_000, partitions=2)
    job = write_job(tmp_path, stream, model="counting", shards=2, store=store)
    outcome = train_whole(job, operation)
    catalog = Catalog(open_location(str(store)))
    commits = [catalog.read(point.at) for point in catalog.points()]
    skips = commits[-1].skips
    assert equal_counts(outcome["counts"], stream.counts(skips))
    if operation == "rollback":
        assert skips
    if operation == "reshard":
        assert 3 in {len(commit.shards) for commit in commits}
