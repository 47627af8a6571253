"""Where a standby begins: at a restore point, or with a base of the leader."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ps.errors import NoRestorePointError
from ps.host.stored import cursor_of, newest_commit, restored_shard
from ps.host.warmup import warm_up
from ps.shard import Shard

if TYPE_CHECKING:
    from collections.abc import Callable

    from ps.block import Block, Cursor
    from ps.host.held import HeldShard
    from ps.shard import ShardSpec
    from ps.store.commit import Commit
    from ps.store.location import Location


class StoredBeginnings:
    """See ps.host.following.Beginnings, for one shard of so many.

    commit: the restore point to begin at for the first time, None: from nothing; after that, or from
    the first time on where `newest` is asked for, it is the newest there is.
    """

    def __init__(
        self,
        store: Callable[[], Location],
        hold: Callable[[Shard, int], HeldShard],
        spec: ShardSpec,
        shards: int,
        commit: Commit | None,
        *,
        newest: bool,
    ) -> None:
        self._store = store
        self._hold = hold
        self._spec = spec
        self._shards = shards
        self._commit = commit
        self._newest = newest

    def from_store(self) -> HeldShard:
        """See Beginnings. The first beginning of all: what it will need is compiled."""
        warm_up(self._spec)
        commit = newest_commit(self._store(), self._shards) if self._newest else self._commit
        self._newest = True
        shard = restored_shard(self._store(), commit, self._spec, self._shards)
        return self._hold(shard, self._shards)

    def from_base(self, base: Block) -> HeldShard:
        """See Beginnings."""
        shard = Shard(self._spec)
        shard.apply(base)
        return self._hold(shard, self._shards)

    def saved(self) -> Cursor | None:
        """See Beginnings."""
        try:
            commit = newest_commit(self._store(), self._shards)
        except NoRestorePointError:
            return None
        return cursor_of(commit, self._spec.shard, self._shards)
