"""Blocks and row stores made by hand, for the tests of replica and follower."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ps.block import Block, DenseDelta, TableDelta

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ps.arrays import F32, U32, U64

MODEL = "ctr"
TABLE = "rows"


class DictStore:
    """A RowStore over a dict; missing fids read as `missing`."""

    def __init__(self, width: int = 2, missing: float = 0.0) -> None:
        self.width = width
        self.missing = missing
        self.rows: dict[int, F32] = {}
        self.now_s = 0

    def __len__(self) -> int:
        return len(self.rows)

    def upsert(self, fids: U64, weights: F32, last_seen_s: U32) -> None:
        assert len(last_seen_s) == len(fids)
        for fid, row in zip(fids.tolist(), weights, strict=True):
            self.rows[fid] = row.copy()

    def set_clock(self, now_s: int) -> None:
        self.now_s = now_s

    def remove(self, fids: U64) -> None:
        for fid in fids.tolist():
            self.rows.pop(fid, None)

    def read(self, fids: U64) -> tuple[F32, int]:
        out = np.full((len(fids), self.width), self.missing, dtype=np.float32)
        absent = 0
        for i, fid in enumerate(fids.tolist()):
            row = self.rows.get(fid)
            if row is None:
                absent += 1
            else:
                out[i] = row
        return out, absent


def fids(*values: int) -> U64:
    return np.array(values, dtype=np.uint64)


def delta(
    rows: Mapping[int, float] | None = None, removed: Sequence[int] = (), width: int = 2
) -> TableDelta:
    """Rows of equal floats, by fid."""
    rows = rows or {}
    weights = np.repeat(np.array(list(rows.values()), dtype=np.float32)[:, None], width, axis=1)
    return TableDelta(
        fids=fids(*rows),
        last_seen_s=np.zeros(len(rows), dtype=np.uint32),
        weights=np.ascontiguousarray(weights),
        state=np.zeros((len(rows), 0), dtype=np.float32),
        removed=fids(*removed),
    )


def block(
    epoch: int,
    rows: Mapping[int, float] | None = None,
    removed: Sequence[int] = (),
    *,
    shard: int = 0,
    generation: int = 0,
    base: bool = False,
    model: str = MODEL,
    dense: Mapping[str, float] | None = None,
    tables: Mapping[str, TableDelta] | None = None,
    sealed_us: int = 0,
    ingest_us: int | None = None,
) -> Block:
    """A block of one table of rows of equal floats."""
    return Block(
        model=model,
        shard=shard,
        generation=generation,
        epoch=epoch,
        base=base,
        event_ts_us=epoch * 1_000_000,
        sealed_us=sealed_us,
        ingest_us=ingest_us,
        positions={"clicks": epoch},
        tables={TABLE: delta(rows, removed)} if tables is None else tables,
        dense={
            name: DenseDelta(np.full(3, value, dtype=np.float32), np.zeros(0, dtype=np.float32))
            for name, value in (dense or {}).items()
        },
        filters={},
    )
