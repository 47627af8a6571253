"""A shard's chain as it is read: its base, if it has one, and its blocks in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ps.errors import BlockGapError
from ps.store.base_file import BaseReader
from ps.store.block_file import read_block_sized
from ps.store.heads import as_base, fold
from ps.store.names import block_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ps.block import Block
    from ps.store.commit import ShardChain
    from ps.store.location import Location


class ChainReader:
    """The files of one chain. Raises what BaseReader and read_block raise, when they are read."""

    def __init__(self, location: Location, chain: ShardChain) -> None:
        self.chain = chain
        self.base = None if chain.base is None else BaseReader(location, chain.shard, chain.base)
        self._location = location

    def blocks(self) -> Iterator[Block]:
        """The blocks, each read and verified as it is asked for.

        Raises BlockGapError where one does not follow what is before it.
        """
        return (block for block, _ in self.sized_blocks())

    def sized_blocks(self) -> Iterator[tuple[Block, int]]:
        """blocks(), each with the bytes of its file."""
        stands = self.chain.base
        for at in self.chain.blocks:
            block, size_bytes = read_block_sized(self._location, self.chain.shard, at)
            if stands is None:
                if block.follows.epoch != 0:
                    raise BlockGapError(block.shard, 0, block.epoch)
            elif block.follows != stands:
                raise BlockGapError(block.shard, stands.epoch, block.epoch)
            stands = at
            yield block, size_bytes

    def block_bytes(self) -> int:
        """How large the blocks' files are together."""
        names = (block_name(self.chain.shard, at) for at in self.chain.blocks)
        return sum(self._location.size(name) for name in names)

    def size_bytes(self) -> int:
        """How large all its files are together."""
        return self.block_bytes() + (0 if self.base is None else self.base.size_bytes)

    def head(self) -> Block | None:
        """Everything but rows at the chain's cursor, as a base's head; None: nothing was ever sealed.

        Reads every block.
        """
        head = None if self.base is None else self.base.head
        for block in self.blocks():
            head = folded(head, block)
        return head


def folded(head: Block | None, block: Block) -> Block:
    """A base's head (None: of nothing) with a block on top."""
    return as_base(fold(None, block)) if head is None else fold(head, block)
