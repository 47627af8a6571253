"""Which fids changed between two restore points of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ps.errors import CorruptFileError, FileMissingError
from ps.store.ownership import by_owner
from ps.store.restore import changed_fids

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ps.arrays import U64
    from ps.block import Cursor
    from ps.shard import Shard
    from ps.store.commit import Commit
    from ps.store.location import Location

# fids uint64[n] by table, for each shard.
FidsByShard = list[dict[str, "U64"]]


def changed_between(
    location: Location, commits: Iterable[Commit], earlier: Commit, later: Commit, shards: int
) -> FidsByShard | None:
    """The fids that any block on the way from one restore point to another changed or removed.

    commits: all that are known, in any order; they say which block follows which. None where the way
    is not known in full: parts of it were pruned, or the shards were cut anew in between. Raises
    StoreUnavailableError.
    """
    blocks = _way(commits, earlier, later)
    if blocks is None:
        return None
    try:
        return by_owner(changed_fids(location, blocks), shards)
    except (CorruptFileError, FileMissingError):
        return None


def all_fids(present: Sequence[Shard], restored: Sequence[Shard]) -> FidsByShard:
    """Every fid that has a row in one or the other, by the shard that has it in the latter."""
    found: dict[str, list[U64]] = {}
    for shard in (*present, *restored):
        for table in shard.spec.tables:
            found.setdefault(table.name, []).append(shard.table(table.name).export().fids)
    return by_owner(
        {name: np.unique(np.concatenate(fids)) for name, fids in found.items()}, len(restored)
    )


def _way(
    commits: Iterable[Commit], earlier: Commit, later: Commit
) -> list[tuple[int, Cursor]] | None:
    """The blocks (shard, cursor) from where `earlier` stands to where `later` does, in any order."""
    if len(earlier.shards) != len(later.shards):
        return None
    before: dict[tuple[int, Cursor], Cursor] = {}
    for commit in (*commits, later):
        for chain in commit.shards:
            stands = chain.base
            for at in chain.blocks:
                if stands is not None:
                    before[chain.shard, at] = stands
                stands = at
    way: list[tuple[int, Cursor]] = []
    for start, end in zip(earlier.shards, later.shards, strict=True):
        at = end.cursor
        while at != start.cursor:
            previous = before.get((end.shard, at))
            if previous is None:
                return None
            way.append((end.shard, at))
            at = previous
    return way
