"""Kill anything on a cluster with -9 while it learns and serves: nothing is lost, nobody gets an error."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.faults.cluster.counting import counts, newest, occurrences
from tests.faults.cluster.kills import KINDS, Killer
from tests.faults.cluster.world import World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ray.cluster_utils import Cluster

    from tests.faults.cluster.kills import Kind

ALL = "TRILITH_FAULTS" in os.environ
KILLS = 10


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("standbys", [0, 1] if ALL else [1])
def test_nothing_is_lost_and_nobody_gets_an_error(
    cluster: Cluster,
    tmp_path: Path,
    standbys: int,
    record_property: Callable[[str, object], None],
) -> None:
    seed = int.from_bytes(os.urandom(4)) if ALL else standbys + 1
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    kinds: list[Kind] = [*KINDS[standbys] * (KILLS if ALL else 1)]
    rng.shuffle(kinds)
    with World(cluster, tmp_path, standbys=standbys) as world:
        killer = Killer(world, rng)
        try:
            for kind in kinds:
                killer.kill(kind)
            world.wait("all is well at the end", world.is_well)
        finally:
            print("\n".join([*world.said, *world.load.errors[:20]]))
            for kind, seconds in killer.recovered_s.items():
                record_property(f"seconds {kind}, {standbys} standby(s)", seconds)
        world.finish()
        assert world.load.errors == []
        assert world.load.answered > 0
    commit = newest(tmp_path)
    [positions] = {tuple(sorted(chain.positions.items())) for chain in commit.shards}
    assert counts(tmp_path, world.job, commit) == occurrences(world.job, dict(positions))
    record_property("kills", len(kinds))
    record_property("predictions", world.load.answered)
    print(f"{sum(dict(positions).values())} examples, slowest call {world.load.slowest_s:.2f} s")
