"""Blocks of one shard made up by hand, and a dict that they are laid over: what a reader must hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ps.block import Block, Cursor, DenseDelta, FilterDelta, TableDelta, TableTally

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# table -> (width, state width)
SHAPES: dict[str, tuple[int, int]] = {"items": (1, 0), "users": (3, 2)}

Held = dict[str, dict[int, tuple[int, bytes, bytes]]]


def table_delta(
    rng: np.random.Generator,
    shape: tuple[int, int],
    fids: Iterable[int],
    removed: Iterable[int] = (),
) -> TableDelta:
    """Rows of those fids with random content."""
    numbers = np.array(list(fids), dtype=np.uint64)
    n = numbers.size
    return TableDelta(
        fids=numbers,
        last_seen_s=rng.integers(0, 2**32, n, dtype=np.uint32),
        weights=rng.standard_normal((n, shape[0]), dtype=np.float32),
        state=rng.standard_normal((n, shape[1]), dtype=np.float32),
        removed=np.array(list(removed), dtype=np.uint64),
    )


def filter_delta(rng: np.random.Generator, period: int, lines: Iterable[int]) -> FilterDelta:
    """Lines last used in this period or one of the three before it."""
    numbers = np.array(sorted(set(lines)), dtype=np.uint32)
    cells = rng.integers(0, 256, (numbers.size, 64), dtype=np.uint8)
    used = rng.integers(max(1, period - 3), period + 1, numbers.size)
    cells[:, :8] = used.astype("<i8").view(np.uint8).reshape(-1, 8)
    return FilterDelta(
        wide=False,
        total_lines=64,
        period=period,
        keys=period * 3,
        period_start_s=period * 10,
        now_s=period * 10 + 5,
        lines=numbers,
        cells=cells,
    )


def make_block(
    epoch: int,
    tables: Mapping[str, TableDelta] | None = None,
    *,
    generation: int = 1,
    after: Cursor | None = None,
    base: bool = False,
    shard: int = 2,
    seed: int = 0,
) -> Block:
    """A block with a little of everything."""
    rng = np.random.default_rng((seed, epoch, generation))
    return Block(
        model="m",
        shard=shard,
        generation=generation,
        epoch=epoch,
        base=base,
        event_ts_us=epoch * 1_000_000,
        sealed_us=epoch * 1_000_001,
        ingest_us=None if epoch % 3 == 0 else epoch * 999_999,
        positions={"p0": epoch * 10, f"p{epoch % 3 + 1}": epoch},
        tables=tables or {},
        dense={
            f"d{epoch % 2}": DenseDelta(
                rng.standard_normal((2, 3), dtype=np.float32), rng.standard_normal(4).astype("f4")
            )
        },
        filters={"users": filter_delta(rng, 1 + epoch // 2, rng.integers(0, 64, 9).tolist())},
        after=after,
        owners={"p0": epoch // 2},
        tallies={"users": TableTally(epoch, epoch * 2, 3, 4)},
        pushes_applied=epoch * 7,
        pushes_repeated=epoch,
    )


@dataclass
class Reader:
    """Rows by fid, as plain as can be."""

    rows: Held

    def apply(self, tables: Mapping[str, TableDelta]) -> None:
        for name, change in tables.items():
            held = self.rows[name]
            for fid in change.removed.tolist():
                held.pop(fid, None)
            for i, fid in enumerate(change.fids.tolist()):
                held[fid] = (
                    int(change.last_seen_s[i]),
                    change.weights[i].tobytes(),
                    change.state[i].tobytes(),
                )


def held_by(parts: Iterable[Mapping[str, TableDelta]], names: Iterable[str] = SHAPES) -> Held:
    """What a reader holds after these, in order; each is done with before the next is asked for."""
    reader = Reader({name: {} for name in names})
    for tables in parts:
        reader.apply(tables)
    return reader.rows


def random_chain(seed: int, epochs: int, fids: int = 40, most: int = 20) -> list[Block]:
    """Consecutive blocks; in each, random fids change or leave, and some do both."""
    rng = np.random.default_rng(seed)
    blocks = []
    cursor = Cursor(0, 1)
    for _ in range(epochs):
        tables = {}
        for name, shape in SHAPES.items():
            changed = rng.choice(fids, rng.integers(0, most), replace=False)
            removed = rng.choice(fids, rng.integers(0, most // 2), replace=False)
            tables[name] = table_delta(rng, shape, changed.tolist(), removed.tolist())
        if rng.random() < 0.2:
            del tables["items"]
        skip = int(rng.random() < 0.2)
        at = Cursor(cursor.epoch + 1 + skip, cursor.generation + skip)
        blocks.append(
            make_block(at.epoch, tables, generation=at.generation, after=cursor if skip else None)
        )
        cursor = at
    return blocks
