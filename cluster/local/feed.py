"""The log of blocks as a replica sees it: it stands still while publishing is paused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ps.errors import BlockError
from ps.store.merge import merge_blocks

if TYPE_CHECKING:
    from ps.block import Block
    from ps.blocklog import BlockLog

_ALL_BLOCKS = 1 << 30


class PausableFeed:
    """One replica's feed. After a pause all it missed comes as one block.

    So a state that an operator paused to keep from users, and rolled back since, is never served.
    """

    def __init__(self, log: BlockLog) -> None:
        self._log = log
        self._paused = False
        self._missed: set[int] = set()

    def pause(self) -> None:
        """Give nothing from now on."""
        self._paused = True

    def resume(self, shards: int) -> None:
        """Go on, with what was missed of each of so many shards as one block."""
        self._missed = set(range(shards))
        self._paused = False

    def read(self, shard: int, after_epoch: int, *, generation: int) -> list[Block]:
        """See serving.follower.BlockFeed."""
        if self._paused:
            return []
        if shard not in self._missed:
            return self._log.read(shard, after_epoch, generation=generation)
        blocks = self._log.read(shard, after_epoch, _ALL_BLOCKS, generation)
        self._missed.discard(shard)
        return [merge_blocks(blocks)] if len(blocks) > 1 else blocks

    def base(self, shard: int) -> Block:
        """See serving.follower.BlockFeed. Raises BlockError while publishing is paused."""
        block = None if self._paused else self._log.base(shard)
        # Looked at again: meanwhile the shards may have been replaced by others.
        if block is None or self._paused:
            raise BlockError(
                f"shard {shard}: publishing is paused, so there is nothing to start from; resume it"
            )
        return block
