"""Compaction: a shard's base and the blocks after it become one base, beside training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ps.errors import SpecError
from ps.store.chains import ChainReader
from ps.store.rebase import Source, rebase

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ps.block import Block
    from ps.store.commit import ShardChain
    from ps.store.location import Location


def compact(
    location: Location,
    chain: ShardChain,
    *,
    memory_bytes: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the base at a chain's cursor from the chain; its bytes, 0 where it is there already.

    The base is whole before anything can name it; nothing else is written or deleted. memory_bytes:
    for the blocks' changes (ps.store.rebase). on_progress: called with the bytes written so far, and
    about how many there will be.

    Raises CorruptFileError, ForeignFileError, FileMissingError where the chain cannot be read,
    ShapeError where one of its tables changed its shape, SpecError where it is empty,
    StoreUnavailableError; then nothing has been written.
    """
    if not chain.blocks:
        if chain.base is None:
            raise SpecError(f"shard {chain.shard} has sealed nothing; there is nothing to compact")
        return 0
    source = ChainReader(location, chain)
    about_bytes = source.block_bytes() if source.base is None else source.base.size_bytes

    def on_section(written: int) -> None:
        if on_progress is not None:
            on_progress(written, max(written, about_bytes))

    return rebase(
        location,
        [Source(source)],
        chain.shard,
        chain.cursor,
        _only_head,
        memory_bytes=memory_bytes,
        on_section=on_section,
    )


def _only_head(sources: Sequence[Source]) -> Block:
    head = sources[0].head
    if head is None:
        raise SpecError("the chain is empty")  # compact() has looked
    return head
