"""A model of several shards that learns, seals into files, and is committed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ps.admission import AdmitAfter
from ps.block import Cursor
from ps.buckets import dense_owner, even_shard_map
from ps.client import RoutingClient
from ps.dense import DenseSpec
from ps.initializers import Initializer
from ps.messages import RowGradients
from ps.optimizers import AdaGrad, Adam, FtrlProximal
from ps.shard import Shard, ShardSpec
from ps.store.block_file import write_block
from ps.store.commit import Commit, ShardChain
from ps.store.description import ModelDescription
from ps.stream import Span
from ps.table import SlotPolicy, TableSpec
from tests.ps.store.blocks_by_hand import held_by

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ps.store.location import Location
    from tests.ps.store.blocks_by_hand import Held

FIDS = 300
TABLES = (
    TableSpec(
        "factors",
        9,
        AdaGrad(),
        Initializer("normal", 0.1, 1),
        slots=(SlotPolicy(0, ttl_s=6), SlotPolicy(1, admission=AdmitAfter(3))),
        remembered_fids=1 << 14,
        admission_window_s=1000,
        capacity_rows=2_000,
    ),
    TableSpec("linear", 1, FtrlProximal(l1=0.1), capacity_rows=2_000),
    TableSpec("unused", 2, AdaGrad(), capacity_rows=2_000),
)
DENSE = tuple(DenseSpec(f"layer.{i}", (3, 2), Adam(), init_scale=0.3) for i in range(6))


def specs(shards: int, model: str = "m") -> list[ShardSpec]:
    """What each of so many shards holds."""
    owners = even_shard_map(shards)
    return [
        ShardSpec(
            model=model,
            tables=TABLES,
            dense=tuple(s for s in DENSE if dense_owner(s.name, owners) == number),
            shard=number,
            seed=5,
        )
        for number in range(shards)
    ]


def all_fids(table: str) -> np.ndarray:
    fids = np.arange(FIDS, dtype=np.uint64)
    return np.concatenate([fids, fids | np.uint64(1 << 48)]) if table == "factors" else fids


def push(shards: Sequence[Shard], step: int) -> None:
    """One batch, made from the step's number alone."""
    rng = np.random.default_rng(step)
    rows = {}
    for table in TABLES[:2]:
        fids = rng.choice(all_fids(table.name), int(rng.integers(1, 120)), replace=False)
        rows[table.name] = RowGradients(
            fids,
            rng.standard_normal((len(fids), table.width), dtype=np.float32),
            rng.integers(1, 3, len(fids)).astype(np.uint32),
        )
    dense = {spec.name: rng.standard_normal((3, 2), dtype=np.float32) for spec in DENSE[:5]}
    RoutingClient(list(shards)).push(
        Span("p", step, step + 1), event_ts_us=step * 1_000_000, rows=rows, dense=dense
    )


def pulled(shards: Sequence[Shard]) -> dict[str, bytes]:
    """What the model reads as, whoever holds it."""
    client = RoutingClient(list(shards))
    rows = client.pull({table.name: all_fids(table.name) for table in TABLES})
    dense = client.pull_dense()
    return {name: array.tobytes() for name, array in sorted({**rows, **dense}.items())}


def held(shards: Iterable[Shard]) -> Held:
    """Every row of every shard; no fid may be in two."""
    merged: Held = {table.name: {} for table in TABLES}
    for shard in shards:
        exported = shard.export(0).tables
        for name, rows in held_by([exported], [table.name for table in TABLES]).items():
            assert not merged[name].keys() & rows.keys()
            merged[name].update(rows)
    return merged


def dense_of(shards: Iterable[Shard]) -> dict[str, tuple[bytes, bytes]]:
    return {
        name: (value.weights.tobytes(), value.state.tobytes())
        for shard in shards
        for name, value in shard.export(0).dense.items()
    }


class Job:
    """Shards that learn, and their chains."""

    def __init__(self, location: Location, shards: int) -> None:
        self.location = location
        self.shards = [Shard(spec, generation=1) for spec in specs(shards)]
        self.chains = [ShardChain(number, None, ()) for number in range(shards)]
        self.step = 0

    def learn(self, steps: int) -> None:
        for _ in range(steps):
            push(self.shards, self.step)
            self.step += 1

    def seal(self) -> None:
        for number, shard in enumerate(self.shards):
            block = shard.seal(self.step)
            write_block(self.location, block)
            chain = self.chains[number]
            self.chains[number] = replace(
                chain, blocks=(*chain.blocks, block.cursor), positions=block.positions
            )

    def commit(self) -> Commit:
        chain = self.chains[0]
        return Commit(
            at=chain.cursor,
            model="m",
            description=ModelDescription(5, {}, {}),
            shards=tuple(self.chains),
            positions=self.shards[0].positions(),
            event_ts_us=0,
            created_us=0,
        )


def rebased(commit: Commit, chains: tuple[ShardChain, ...]) -> Commit:
    """The same restore point with other chains."""
    return replace(commit, at=Cursor(*chains[0].cursor), shards=chains)
