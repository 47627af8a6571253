"""The job that is broken: it counts, so that what it must come to is known for any place in its stream."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from model.fids import fid
from ps.store.catalog import Catalog
from ps.store.opening import open_location
from ps.store.restore import restore_shards

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.fleet.shipping import JobText
    from ps.store.commit import Commit
    from ps.stream import Positions

JOB = "broken"
SHARDS, WORKERS, REPLICAS, PARTITIONS = 2, 2, 2, 4
BATCH = 64
USER_SLOT, ITEM_SLOT = 1, 2


def write_job(folder: Path, admin: str, *, standbys: int) -> Path:
    """A job without end, that publishes and saves often; a machine has room for most of it."""
    needs = {"num_cpus": 0.5}
    job = {
        "job": JOB,
        "source": {"format": "synthetic", "partitions": PARTITIONS},
        "features": [
            {"name": "user", "kind": "categorical", "slot": USER_SLOT, "column": "user_id"},
            {"name": "item", "kind": "categorical", "slot": ITEM_SLOT, "column": "item_id"},
        ],
        "model": {"kind": "counting"},
        "train": {"batch_size": BATCH},
        "serve": {"listen": "127.0.0.1:0", "sync_interval": "200ms"},
        "admin": {"listen": admin},
        "store": {"url": "kept", "commit_every": "500ms", "keep": {"points": 20}},
        "cluster": {
            "shards": SHARDS,
            "standbys": standbys,
            "workers": WORKERS,
            "replicas": REPLICAS,
            "standby_apart": "required",
            "replicas_apart": "required",
            "resources": dict.fromkeys(("shard", "worker", "replica"), needs),
        },
    }
    file = folder / "job.yaml"
    file.write_text(json.dumps(job))
    return file


def newest(folder: Path) -> Commit:
    """The newest restore point."""
    commit = Catalog(open_location(str(folder / "kept"))).newest_whole()
    assert commit is not None
    return commit


def counts(folder: Path, job: JobText, commit: Commit) -> Counter[int]:
    """The weights of a restore point, by fid."""
    found: Counter[int] = Counter()
    specs = job.plan(source=False).shard_specs(len(commit.shards))
    for shard in restore_shards(open_location(str(folder / "kept")), commit, specs):
        for spec in shard.spec.tables:
            rows = shard.table(spec.name).export()
            for one, weight in zip(rows.fids.tolist(), rows.weights[:, 0].tolist(), strict=True):
                found[one] += weight
    return +found


def occurrences(job: JobText, positions: Positions) -> Counter[int]:
    """How often each fid occurs in the stream up to there."""
    found: Counter[int] = Counter()
    source = job.plan(source=True).source
    for partition in source.partitions():
        until = positions[partition]
        for chunk in source.read(partition, 0):
            taken = chunk.columns.slice(0, max(0, until - chunk.span.begin))
            for column, slot in (("user_id", USER_SLOT), ("item_id", ITEM_SLOT)):
                ids, times = np.unique(taken.column(column).to_numpy(), return_counts=True)
                for one, count in zip(ids.tolist(), times.tolist(), strict=True):
                    found[fid(slot, one)] += count
            if chunk.span.end >= until:
                break
    return found
