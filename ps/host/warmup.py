"""Compiling what a shard's process calls before the first batch waits for it."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ps.messages import Push, RowGradients
from ps.shard import Shard
from ps.store.merge import merge_blocks
from ps.stream import Span

if TYPE_CHECKING:
    from ps.arrays import U64
    from ps.shard import ShardSpec
    from ps.table import TableSpec

_ROWS = 8
_SLOT_BITS = 48


def warm_up(spec: ShardSpec) -> None:
    """Have the kernels of these tables compiled, or loaded from the cache, once in this process.

    The first time on a machine takes up to a minute, later ones a second: that much later would the
    first push after a failover be answered.
    """
    _warm_up(replace(spec, model="warm-up", shard=0))


@lru_cache(maxsize=4)
def _warm_up(spec: ShardSpec) -> None:
    leader, standby, late = Shard(spec), Shard(spec), Shard(spec)
    fids = {table.name: _fids(table) for table in spec.tables}
    blocks = []
    for step in range(2):  # the first makes rows, the second finds them
        leader.push(_made_up(leader, step, fids))
        leader.pull(fids)
        leader.pull_dense()
        blocks.append(leader.seal(sealed_us=0))
        standby.apply(blocks[-1])
    merge_blocks(blocks)
    late.apply(leader.export(sealed_us=0))
    late.expire(now_s=0, budget_rows=1)
    late.mark_changed(fids, present=standby)


def _fids(table: TableSpec) -> U64:
    identities = np.arange(_ROWS, dtype=np.uint64)
    slots = [policy.slot for policy in table.slots] or [0]
    return np.concatenate([identities + np.uint64(slot << _SLOT_BITS) for slot in slots])


def _made_up(shard: Shard, step: int, fids: dict[str, U64]) -> Push:
    return Push(
        Span("warm-up", step, step + 1),
        event_ts_us=0,
        rows={
            table.name: RowGradients(
                fids[table.name],
                np.zeros((fids[table.name].size, table.width), dtype=np.float32),
                np.ones(fids[table.name].size, dtype=np.uint32),
            )
            for table in shard.spec.tables
        },
        dense={name: np.zeros_like(value) for name, value in shard.pull_dense().items()},
    )
