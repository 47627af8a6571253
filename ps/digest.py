"""A hash of a shard's state, whatever its layout in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xxhash

if TYPE_CHECKING:
    from ps.block import Block, FilterDelta, TableDelta


def digest_of(base: Block) -> str:
    """Hex digits for rows, filters, dense variables, positions and event clock of a base block.

    Neither the order of the rows, nor epochs, generations and tallies count.
    """
    digest = xxhash.xxh3_128()
    for name, rows in sorted(base.tables.items()):
        _digest_rows(digest, name, rows)
        if name in base.filters:
            _digest_filter(digest, base.filters[name])
    for name, variable in sorted(base.dense.items()):
        digest.update(name.encode())
        digest.update(variable.weights.tobytes())
        digest.update(variable.state.tobytes())
    digest.update(repr(sorted(base.positions.items())).encode())
    digest.update(repr(base.event_ts_us).encode())
    return digest.hexdigest()


def _digest_rows(digest: xxhash.xxh3_128, name: str, rows: TableDelta) -> None:
    order = np.argsort(rows.fids)
    digest.update(name.encode())
    for array in (rows.fids, rows.last_seen_s, rows.weights, rows.state):
        digest.update(array[order].tobytes())


def _digest_filter(digest: xxhash.xxh3_128, change: FilterDelta) -> None:
    clock = (change.period, change.keys, change.period_start_s, change.now_s)
    digest.update(repr(clock).encode())
    digest.update(change.lines.tobytes())
    digest.update(change.cells.tobytes())
