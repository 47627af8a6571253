"""The rows of a restore point, some buckets at a time, without a table to put them in."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ps.block import TableDelta
from ps.errors import ShapeError
from ps.store.chains import ChainReader, folded
from ps.store.ownership import BucketRange, bucket_ranges
from ps.store.rows import BUCKETS, in_buckets, newest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ps.block import Block
    from ps.store.commit import Commit
    from ps.store.location import Location


class PointReader:
    """One restore point. Reads bases by section, and blocks whole, one after another.

    Rows are as stored: one that is overdue is there until it was freed. Raises what BaseReader and
    read_block raise, when something is read, and ShapeError where a table changed its shape.
    """

    def __init__(self, location: Location, commit: Commit) -> None:
        ranges = bucket_ranges(len(commit.shards))
        chains = sorted(commit.shards, key=lambda chain: chain.shard)
        models = {commit.at.generation: commit.model}
        self.chains = [
            (ChainReader(location, chain, models), own)
            for chain, own in zip(chains, ranges, strict=True)
        ]
        self._heads: dict[int, Block | None] = {}

    def shard_of(self, bucket: int) -> int:
        """The number of the shard that owns a bucket."""
        return next(i for i, (_, own) in enumerate(self.chains) if own.first <= bucket < own.end)

    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(chain.size_bytes() for chain, _ in self.chains)

    def head(self, shard: int) -> Block | None:
        """All that one shard held but rows; None where it had sealed nothing."""
        if shard not in self._heads:
            self._heads[shard] = self.chains[shard][0].head()
        return self._heads[shard]

    def rows(
        self, first_bucket: int, end_bucket: int, tables: Collection[str] | None = None
    ) -> dict[str, TableDelta]:
        """The rows of those buckets by table, in order of their fids; none are removed."""
        wanted = BucketRange(first_bucket, end_bucket)
        parts: dict[str, list[TableDelta]] = {}
        for shard, (chain, own) in enumerate(self.chains):
            if not own.touches(wanted):
                continue
            head = None if chain.base is None else chain.base.head
            if chain.base is not None:
                for name, rows in chain.base.rows(first_bucket, end_bucket, tables):
                    # The next section overwrites what this one lent.
                    parts.setdefault(name, []).append(_copied(rows))
            for block in chain.blocks():
                # Having read the blocks, there is no need to read them for the head again.
                head = folded(head, block) if shard not in self._heads else None
                for name, rows in block.tables.items():
                    if tables is None or name in tables:
                        parts.setdefault(name, []).append(_own(rows, first_bucket, end_bucket))
            self._heads.setdefault(shard, head)
        return {name: _together(name, parts[name]) for name in sorted(parts)}


def windows(size_bytes: int, memory_bytes: int) -> Iterator[BucketRange]:
    """All buckets, cut so that of size_bytes spread evenly each holds about memory_bytes at most."""
    count = min(BUCKETS, max(1, -(-size_bytes // max(1, memory_bytes))))
    yield from bucket_ranges(count)


def _own(rows: TableDelta, first_bucket: int, end_bucket: int) -> TableDelta:
    """The rows of those buckets, holding on to no memory but their own."""
    inside = in_buckets(rows, first_bucket, end_bucket)
    return _copied(inside) if inside is rows else inside


def _copied(rows: TableDelta) -> TableDelta:
    return TableDelta(
        fids=rows.fids.copy(),
        last_seen_s=rows.last_seen_s.copy(),
        weights=rows.weights.copy(),
        state=rows.state.copy(),
        removed=rows.removed.copy(),
    )


def _together(name: str, parts: list[TableDelta]) -> TableDelta:
    shapes = {(rows.weights.shape[1], rows.state.shape[1]) for rows in parts}
    if len(shapes) > 1:
        raise ShapeError(f"table {name!r} changed its shape on the way: {sorted(shapes)}")
    rows = newest(parts)
    return replace(rows, removed=rows.removed[:0])
