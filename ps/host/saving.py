"""Saving: what a shard has sealed since the store's cursor, as one block in the store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ps.host.port import SavedBlock
from ps.host.unsaved import Sealed
from ps.store.block_file import write_block
from ps.store.merge import merge_blocks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ps.block import Block, Cursor
    from ps.host.unsaved import UnsavedBlocks
    from ps.store.location import Location


def save(location: Location, unsaved: UnsavedBlocks, after: Cursor) -> SavedBlock:
    """Write one block of everything sealed after a cursor, at which the store stands:

    1. forget what the store has
    2. choose all blocks since, and remember where they end: the store may be there from 4 on
    3. merge them
    4. write the file

    What was written is held until a later save() shows that a restore point names it. Every step may
    be repeated; a crash after 4 leaves a file that nobody names. Quiet, with nothing written, where
    rows, dense variables, filters, positions, owners and event clock are what they were at the
    cursor: epochs have been numbered, and nothing else; the store then stays where it is.

    Raises BlockGapError where not all since the cursor is held, StoreError.
    """
    unsaved.forget(after)  # 1
    before, blocks = unsaved.take(after)  # 2
    if not blocks:
        return SavedBlock(replace(before.head, after=after), 0, before.rows, quiet=True)
    merged = Sealed(merge_blocks([one.block for one in blocks]), blocks[-1].rows)  # 3
    if is_quiet(before.block, [one.block for one in blocks]):
        return SavedBlock(merged.head, 0, merged.rows, quiet=True)
    n_bytes = write_block(location, merged.block)  # 4
    return SavedBlock(merged.head, n_bytes, merged.rows)


def is_quiet(before: Block, blocks: Sequence[Block]) -> bool:
    """Whether blocks leave everything but epoch and generation as `before` has it."""
    last = blocks[-1]
    return (
        dict(last.positions) == dict(before.positions)
        and dict(last.owners) == dict(before.owners)
        and last.event_ts_us == before.event_ts_us
        and all(_is_empty(block) for block in blocks)
    )


def _is_empty(block: Block) -> bool:
    return (
        not block.dense
        and all(change.lines.size == 0 for change in block.filters.values())
        and all(change.fids.size == change.removed.size == 0 for change in block.tables.values())
    )
