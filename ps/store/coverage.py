"""The files that some restore points need, and what one more would add."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ps.store.inventory import blocks_added

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ps.block import Cursor
    from ps.store.commit import Commit, ShardChain
    from ps.store.inventory import Inventory


class Coverage:
    """blocks, bases: what is needed, by shard and cursor. bytes: of those that are there.

    Add restore points newest first: most are then seen to add nothing without looking at their
    files one by one.
    """

    def __init__(self, inventory: Inventory) -> None:
        self.blocks: set[tuple[int, Cursor]] = set()
        self.bases: set[tuple[int, Cursor]] = set()
        self.bytes = 0
        self._inventory = inventory
        # By shard, a chain that has been looked at in full, and whether it is covered.
        self._looked_at: dict[int, ShardChain] = {}

    def added(self, commit: Commit) -> int:
        """The bytes a restore point would add."""
        return sum(self._new(chain)[2] for chain in commit.shards)

    def add(self, chains: Iterable[ShardChain]) -> None:
        """Count a restore point's chains in."""
        for chain in chains:
            blocks, bases, size = self._new(chain)
            self.blocks |= blocks
            self.bases |= bases
            self.bytes += size
            last = self._looked_at.get(chain.shard)
            if last is None or blocks_added(chain, last) is None:
                self._looked_at[chain.shard] = chain

    def _new(
        self, chain: ShardChain
    ) -> tuple[set[tuple[int, Cursor]], set[tuple[int, Cursor]], int]:
        """The blocks, the bases and the bytes a chain would add."""
        shard = chain.shard
        last = self._looked_at.get(shard)
        if last is not None and blocks_added(chain, last) is not None:
            return set(), set(), 0  # the beginning of what is covered
        blocks = {(shard, at) for at in chain.blocks} - self.blocks
        bases = set() if chain.base is None else {(shard, chain.base)} - self.bases
        size = sum(self._inventory.blocks.get(key, 0) for key in blocks)
        size += sum(self._inventory.bases.get(key, 0) for key in bases)
        return blocks, bases, size
