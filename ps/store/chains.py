"""A shard's chain as it is read: its base, if it has one, and its blocks in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ps.errors import CorruptFileError
from ps.store.base_file import BaseReader
from ps.store.block_file import read_block_sized
from ps.store.heads import as_base, fold
from ps.store.names import block_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ps.block import Block, Cursor
    from ps.store.commit import ShardChain
    from ps.store.location import Location


class ChainReader:
    """The files of one chain.

    models: the fingerprint of the model by generation, as far as it is known; what is read is held to
    it and adds to it. A job changes only between two generations, so a file of another model among
    those of its generation is another store's.

    Raises CorruptFileError where a file is damaged, another model's, or does not follow the one before
    it; and what else BaseReader and read_block raise, when files are read.
    """

    def __init__(
        self, location: Location, chain: ShardChain, models: dict[int, str] | None = None
    ) -> None:
        self.chain = chain
        self.base = None if chain.base is None else BaseReader(location, chain.shard, chain.base)
        self._location = location
        self._models = {} if models is None else models
        if self.base is not None and chain.base is not None:
            self._check_model(self.base.name, chain.base, self.base.model)

    def blocks(self) -> Iterator[Block]:
        """The blocks, each read and verified as it is asked for."""
        return (block for block, _ in self.sized_blocks())

    def sized_blocks(self) -> Iterator[tuple[Block, int]]:
        """blocks(), each with the bytes of its file."""
        stands = self.chain.base
        for at in self.chain.blocks:
            block, size_bytes = read_block_sized(self._location, self.chain.shard, at)
            name = block_name(self.chain.shard, at)
            self._check_model(name, at, block.model)
            if block.follows != stands and (stands is not None or block.follows.epoch != 0):
                raise CorruptFileError(
                    name,
                    f"follows epoch {block.follows.epoch} of generation "
                    f"{block.follows.generation}, and is read after "
                    + (f"epoch {stands.epoch} of {stands.generation}" if stands else "nothing"),
                )
            stands = at
            yield block, size_bytes

    def _check_model(self, name: str, at: Cursor, model: str) -> None:
        known = self._models.setdefault(at.generation, model)
        if known != model:
            raise CorruptFileError(
                name, f"is of model {model}, and generation {at.generation} of {known}"
            )

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
