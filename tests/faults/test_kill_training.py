"""Kill the training process with -9 at random instants: nothing is lost, nothing counted twice."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.faults.jobs import write_job, write_stream
from tests.faults.killing import train_and_kill, train_whole
from tests.faults.trainee import equal_counts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ALL = "TRILITH_FAULTS" in os.environ
RUNS = range(3 if ALL else 1)
KILLS = 20 if ALL else 5
RECORDS = 24_000 if ALL else 8_000
LONGEST_LIFE_S = 1.0 if ALL else 0.4


@pytest.mark.timeout(900)
@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("model", ["counting", "fm"])
def test_a_killed_run_ends_as_one_that_nobody_touched(
    tmp_path: Path,
    model: str,
    shards: int,
    run: int,
    record_property: Callable[[str, object], None],
) -> None:
    seed = int.from_bytes(os.urandom(4)) if ALL else run + 1
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    stream = write_stream(tmp_path, seed, RECORDS, partitions=2)
    whole = train_whole(write_job(tmp_path, stream, model=model, shards=shards, store=None))
    job = write_job(tmp_path, stream, model=model, shards=shards, store=tmp_path / "store")
    ended = train_and_kill(job, rng, longest_life_s=LONGEST_LIFE_S, most_kills=KILLS)
    print(f"{model}, {shards} shard(s): {ended.kills} kills")
    record_property("kills", ended.kills)
    if model == "counting":
        assert equal_counts(ended.outcome["counts"], stream.counts())
    assert ended.outcome == whole
