"""What a store holds at one moment, and what follows from it; nothing here reads a file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ps.store.names import base_name, block_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from ps.block import Cursor
    from ps.store.commit import Commit, ShardChain
    from ps.store.location import FileInfo


@dataclass(frozen=True, slots=True)
class Inventory:
    """blocks, bases: size in bytes by shard and cursor. commits: the restore points that can be read,
    by cursor, those of snapshots included; without their `worker`, which only a restore needs.
    commit_files: all of them, damaged ones too. pins: the cursor a snapshot keeps, by its name.
    snapshot_files: by name of the file. faults: what is wrong with a commit or snapshot, by name of
    the file. foreign: files among those that another release wrote. generations: of claims.
    """

    blocks: Mapping[tuple[int, Cursor], int] = field(default_factory=dict)
    bases: Mapping[tuple[int, Cursor], int] = field(default_factory=dict)
    commits: Mapping[Cursor, Commit] = field(default_factory=dict)
    commit_files: Mapping[Cursor, FileInfo] = field(default_factory=dict)
    pins: Mapping[str, Cursor] = field(default_factory=dict)
    snapshot_files: Mapping[str, FileInfo] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    foreign: frozenset[str] = frozenset()
    generations: tuple[int, ...] = ()

    def oldest_first(self) -> list[Commit]:
        """The restore points that can be read."""
        return [self.commits[at] for at in reversed(newest_first(self.commits))]

    @property
    def newest(self) -> Commit | None:
        """The newest restore point that can be read."""
        return max(self.commits.values(), key=lambda commit: age_order(commit.at), default=None)

    def missing(self, commit: Commit) -> list[str]:
        """The files a commit names that are not there."""
        found = []
        for chain in commit.shards:
            if chain.base is not None and (chain.shard, chain.base) not in self.bases:
                found.append(base_name(chain.shard, chain.base))
            found += [
                block_name(chain.shard, at)
                for at in chain.blocks
                if (chain.shard, at) not in self.blocks
            ]
        return found

    def chain_without(self, commit: Commit, damaged: Collection[str]) -> Commit | None:
        """The same restore point by way of files that are there and not damaged; None: no way.

        A base may stand in for everything before it, and the chain of the commit at a base's cursor
        for the base; that again and again, as far back as files are kept.
        """
        chains = [self._around(chain, commit, damaged) for chain in commit.shards]
        found = [chain for chain in chains if chain is not None]
        return replace(commit, shards=tuple(found)) if len(found) == len(chains) else None

    def newest_whole(
        self, damaged: Collection[str], *, at_most: Cursor | None = None
    ) -> Commit | None:
        """The newest restore point that is whole without the damaged files, by whatever way.

        at_most: none newer than this. Without its `worker`.
        """
        for at in newest_first(self.commits):
            if at_most is not None and age_order(at) > age_order(at_most):
                continue
            whole = self.chain_without(self.commits[at], damaged)
            if whole is not None:
                return whole
        return None

    def _around(
        self, chain: ShardChain, commit: Commit, damaged: Collection[str]
    ) -> ShardChain | None:
        shard = chain.shard

        def is_base(at: Cursor) -> bool:
            return (shard, at) in self.bases and base_name(shard, at) not in damaged

        def is_block(at: Cursor) -> bool:
            return (shard, at) in self.blocks and block_name(shard, at) not in damaged

        if (chain.base is None or is_base(chain.base)) and all(map(is_block, chain.blocks)):
            return chain
        before = self._predecessors(shard, commit)
        blocks: list[Cursor] = []
        at: Cursor | None = chain.cursor
        while at is not None and not is_base(at):
            if not is_block(at) or at not in before:
                return None
            blocks.append(at)
            at = before[at]
        return replace(chain, base=at, blocks=tuple(reversed(blocks)))

    def _predecessors(self, shard: int, commit: Commit) -> dict[Cursor, Cursor | None]:
        """Where one stands before each block of a shard, as far as any chain says so; None: nowhere.

        A block's cursor is unlike any other's, so all chains that have it agree.
        """
        found: dict[Cursor, Cursor | None] = {}
        for other in (commit, *self.commits.values()):
            if len(other.shards) == len(commit.shards):
                chain = other.shards[shard]
                found.update(zip(chain.blocks, (chain.base, *chain.blocks), strict=False))
        return found


def age_order(at: Cursor) -> tuple[int, int]:
    """What restore points are ordered by. The generation comes first: what a writer that had been
    replaced still managed to commit is older than whatever its successor did.
    """
    return at.generation, at.epoch


def newest_first(cursors: Iterable[Cursor]) -> list[Cursor]:
    """Restore points in the order in which to try them."""
    return sorted(cursors, key=age_order, reverse=True)


def names_of_chain(chain: ShardChain) -> list[str]:
    """The files of a chain: its base, then its blocks."""
    base = [] if chain.base is None else [base_name(chain.shard, chain.base)]
    return base + [block_name(chain.shard, at) for at in chain.blocks]


def names_of(commit: Commit) -> list[str]:
    """Every file a commit names."""
    return [name for chain in commit.shards for name in names_of_chain(chain)]


def blocks_added(previous: ShardChain | None, chain: ShardChain) -> tuple[Cursor, ...] | None:
    """What a chain has beyond the one it goes on from; None where it does not go on from it.

    Of thousands of restore points, each goes on from the one before; looking at what is new only
    makes going through them linear.
    """
    if previous is None or previous.base != chain.base:
        return None
    before = len(previous.blocks)
    return chain.blocks[before:] if chain.blocks[:before] == previous.blocks else None
