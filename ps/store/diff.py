"""How two restore points of a store differ: rows, weights, dense variables, positions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from ps.store.rows import no_rows
from ps.store.window import PointReader, windows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ps.block import DenseDelta, TableDelta
    from ps.store.commit import Commit
    from ps.store.location import Location
    from ps.stream import Positions

_DEFAULT_MEMORY_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class TableDiff:
    """One table. changed: rows in both whose weights, state or time last seen differ.

    largest_change: of one weight of a row in both, absolute, 0 where none changed; largest_fid: whose.
    Where the rows are of another width, all those in both count as changed and neither is known.
    """

    table: str
    rows_before: int = 0
    rows_after: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0
    largest_change: float | None = 0.0
    largest_fid: int | None = None


@dataclass(frozen=True, slots=True)
class DenseDiff:
    """One dense variable. largest_change: of one of its numbers; None where shapes differ or one is
    missing. Of optimizer state only whether it differs is said: changed with a largest change of 0.
    """

    variable: str
    how: Literal["same", "changed", "added", "removed"]
    largest_change: float | None


@dataclass(frozen=True, slots=True)
class PointDiff:
    """Restore point `after` as against `before`. positions: by partition, (before, after), where
    they differ; None: the point does not know the partition.
    """

    before_epoch: int
    after_epoch: int
    event_ts_us_before: int
    event_ts_us_after: int
    tables: tuple[TableDiff, ...]
    dense: tuple[DenseDiff, ...]
    positions: Mapping[str, tuple[int | None, int | None]]


def diff_points(
    location: Location,
    before: Commit,
    after: Commit,
    *,
    memory_bytes: int = _DEFAULT_MEMORY_BYTES,
    on_progress: Callable[[int, int], None] | None = None,
) -> PointDiff:
    """What changed from one restore point to another, of whatever numbers of shards.

    memory_bytes: about what the rows compared at a time may take; blocks are read once for every time,
    whole. on_progress: called with the buckets compared so far, and how many there are. Raises what
    reading the files raises (ps.store.window).
    """
    readers = PointReader(location, before), PointReader(location, after)
    tables: dict[str, TableDiff] = {}
    # Rows are held as read, put together, and once more where they are in order.
    held_bytes = 3 * sum(reader.size_bytes() for reader in readers)
    for window in windows(held_bytes, memory_bytes):
        old, new = (reader.rows(*window) for reader in readers)
        for name in {**old, **new}:
            so_far = tables.get(name, TableDiff(name))
            tables[name] = _compared(so_far, old.get(name), new.get(name))
        if on_progress is not None:
            on_progress(window.end, 1024)
    old_dense, new_dense = (_dense(reader) for reader in readers)
    return PointDiff(
        before_epoch=before.at.epoch,
        after_epoch=after.at.epoch,
        event_ts_us_before=before.event_ts_us,
        event_ts_us_after=after.event_ts_us,
        tables=tuple(tables[name] for name in sorted(tables)),
        dense=tuple(
            _dense_diff(name, old_dense.get(name), new_dense.get(name))
            for name in sorted({**old_dense, **new_dense})
        ),
        positions=_moved(before.positions, after.positions),
    )


def _compared(so_far: TableDiff, old: TableDelta | None, new: TableDelta | None) -> TableDiff:
    """A table's differences so far and those among more of its rows (in order of fids)."""
    old = _or_none(old, new)
    new = _or_none(new, old)
    both, at_old, at_new = np.intersect1d(
        old.fids, new.fids, assume_unique=True, return_indices=True
    )
    so_far = replace(
        so_far,
        rows_before=so_far.rows_before + old.fids.size,
        rows_after=so_far.rows_after + new.fids.size,
        added=so_far.added + new.fids.size - both.size,
        removed=so_far.removed + old.fids.size - both.size,
    )
    if both.size == 0:
        return so_far
    if old.weights.shape[1] != new.weights.shape[1] or old.state.shape[1] != new.state.shape[1]:
        return replace(
            so_far, changed=so_far.changed + both.size, largest_change=None, largest_fid=None
        )
    # As bits, so that what is not a number equals itself.
    differs = (old.last_seen_s[at_old] != new.last_seen_s[at_new]).copy()
    for left, right in ((old.weights, new.weights), (old.state, new.state)):
        differs |= (left[at_old].view(np.uint32) != right[at_new].view(np.uint32)).any(axis=1)
    so_far = replace(so_far, changed=so_far.changed + int(np.count_nonzero(differs)))
    moved = _distance(old.weights[at_old], new.weights[at_new]).max(axis=1)
    largest = int(moved.argmax())
    if so_far.largest_change is None or moved[largest] <= so_far.largest_change:
        return so_far
    return replace(so_far, largest_change=float(moved[largest]), largest_fid=int(both[largest]))


def _or_none(rows: TableDelta | None, other: TableDelta | None) -> TableDelta:
    if rows is not None:
        return rows
    if other is None:
        return no_rows(0, 0)
    return no_rows(other.weights.shape[1], other.state.shape[1])


def _distance(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Absolute differences; what is no number in one alone counts as infinitely far."""
    with np.errstate(invalid="ignore", over="ignore"):
        far: np.ndarray = np.abs(left.astype(np.float64) - right)
    far[np.isnan(far)] = np.inf
    far[left.view(np.uint32) == right.view(np.uint32)] = 0.0
    return far


def _dense(reader: PointReader) -> dict[str, DenseDelta]:
    heads = (reader.head(shard) for shard in range(len(reader.chains)))
    return {name: value for head in heads if head is not None for name, value in head.dense.items()}


def _dense_diff(name: str, old: DenseDelta | None, new: DenseDelta | None) -> DenseDiff:
    if old is None or new is None:
        return DenseDiff(name, "added" if old is None else "removed", None)
    if old.weights.shape != new.weights.shape:
        return DenseDiff(name, "changed", None)
    left, right = (np.ascontiguousarray(value.weights).reshape(-1) for value in (old, new))
    largest = float(_distance(left, right).max(initial=0.0))
    is_same = left.tobytes() == right.tobytes() and old.state.tobytes() == new.state.tobytes()
    return DenseDiff(name, "same" if is_same else "changed", largest)


def _moved(before: Positions, after: Positions) -> dict[str, tuple[int | None, int | None]]:
    pairs = {name: (before.get(name), after.get(name)) for name in sorted({**before, **after})}
    return {name: (old, new) for name, (old, new) in pairs.items() if old != new}
