"""Commits to test with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ps.block import Cursor
from ps.store.commit import Commit, ShardChain
from ps.store.description import DenseDescription, ModelDescription, TableDescription

if TYPE_CHECKING:
    from collections.abc import Sequence

DESCRIPTION = ModelDescription(
    seed=7,
    tables={
        "default": TableDescription(8, 8, "adagrad", "uniform 0.01", {2: "kept 60 s", 1: "x"}),
        "bias": TableDescription(1, 2, "ftrl", "zeros", {}),
    },
    dense={"mlp.w": DenseDescription((4, 2), 8, "adam"), "bias": DenseDescription((), 0, "sgd")},
)


def chain(shard: int, base: int | None, blocks: Sequence[int], generation: int = 1) -> ShardChain:
    """A chain of one generation."""
    return ShardChain(
        shard,
        None if base is None else Cursor(base, generation),
        tuple(Cursor(epoch, generation) for epoch in blocks),
        {"p0": 100},
    )


def commit(
    epoch: int,
    chains: Sequence[ShardChain] | None = None,
    *,
    generation: int = 1,
    created_us: int = 1_700_000_000_000_000,
) -> Commit:
    """A restore point; without chains, of two shards from nothing, a block an epoch."""
    if chains is None:
        chains = [chain(shard, None, range(1, epoch + 1), generation) for shard in range(2)]
    return Commit(
        at=Cursor(epoch, generation),
        model="ctr",
        description=DESCRIPTION,
        shards=tuple(chains),
        positions={"p1": 7, "p0": 100},
        event_ts_us=1_600_000_000_000_000,
        created_us=created_us,
        ingest_us=None if epoch % 2 else 1_600_000_000_000_001,
        bytes_written=123,
        rows={"default": 5, "bias": 0},
        aligned=epoch % 2 == 0,
        skips={"p0": ((3, 5), (9, 12))},
        worker=b"\0worker",
    )
