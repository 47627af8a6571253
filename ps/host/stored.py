"""What a host reads from the job's store: restore points of its shard, and what changed between two."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ps.errors import NoRestorePointError
from ps.shard import Shard
from ps.store.catalog import Catalog
from ps.store.history import all_fids, changed_between
from ps.store.resume import Restoring

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ps.arrays import U64
    from ps.block import Cursor
    from ps.shard import ShardSpec
    from ps.store.commit import Commit, ShardChain
    from ps.store.location import Location

logger = logging.getLogger(__name__)

# Only for cutting shards anew, which a host never does.
_MEMORY_BYTES = 64 << 20


def restored_shard(
    location: Location, commit: Commit | None, spec: ShardSpec, shards: int
) -> Shard:
    """One shard of so many as a restore point has it, round what is damaged; None: as it begins.

    Raises StoreError, SpecError.
    """
    if commit is None:
        return Shard(spec)
    restoring = Restoring(location, Catalog(location), _say, _MEMORY_BYTES)
    [shard] = restoring.restore(commit, [spec], shards)
    return shard


def newest_commit(location: Location, shards: int) -> Commit:
    """The newest restore point of so many shards. Raises NoRestorePointError, StoreError."""
    commit = Catalog(location).newest_whole()
    if commit is None or len(commit.shards) != shards:
        raise NoRestorePointError(f"store {location.url} has no restore point of {shards} shard(s)")
    return commit


def chain_of(commit: Commit, shard: int) -> ShardChain:
    """How one shard is restored."""
    return next(chain for chain in commit.shards if chain.shard == shard)


def cursor_of(commit: Commit | None, shard: int, shards: int) -> Cursor | None:
    """Where a shard of so many stands in a restore point; None where that is of another number."""
    if commit is None or len(commit.shards) != shards:
        return None
    return chain_of(commit, shard).cursor


def changed_in(
    location: Location,
    earlier: Commit,
    later: Commit,
    restored: Shard,
    present: Callable[[], Shard],
) -> dict[str, U64]:
    """Every fid in which one shard may differ between two restore points: uint64[n] by table.

    restored: the shard as of `earlier`; present: as of `later`, asked for only where blocks in between
    are gone, so that it can be any fid. Raises StoreError.
    """
    number, shards = restored.spec.shard, len(earlier.shards)
    if shards == len(later.shards):
        commits = Catalog(location).survey().commits.values()
        # Rows stay with their shard as long as the shards are not cut anew, which breaks the chain.
        own = [_of_one(one, number) for one in commits if len(one.shards) == shards]
        changed = changed_between(
            location, own, _of_one(earlier, number), _of_one(later, number), shards
        )
        if changed is not None:
            return changed[number]
    return all_fids([present()], [restored])[0]


def count_changed(restored: Shard, changed: Mapping[str, U64]) -> tuple[int, int]:
    """Of the fids that changed, how many have a row, and how many have none."""
    here = sum(int(np.count_nonzero(restored.table(n).contains(f))) for n, f in changed.items())
    return here, sum(fids.size for fids in changed.values()) - here


def _of_one(commit: Commit, shard: int) -> Commit:
    return replace(commit, shards=(chain_of(commit, shard),))


def _say(message: str) -> None:
    logger.info("%s", message)
