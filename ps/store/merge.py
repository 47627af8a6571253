"""Consecutive blocks of one shard as one block: what a writer that is behind has left to write."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ps.errors import ForeignBlockError, SpecError
from ps.store.changes import ChangeSet
from ps.store.heads import fold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ps.block import Block


def merge_blocks(blocks: Sequence[Block]) -> Block:
    """One ordinary block that takes a reader from where the first follows to the last one's cursor.

    Of every row the newest; removed: what was removed last, whether it ever had a row or not. Of
    dense variables and filter lines the newest; positions, owners, clock and tallies of the last.
    Applying it leaves a reader exactly as applying the blocks one by one does.

    Raises SpecError where there are none, ForeignBlockError where they are of several models or
    shards or bases, BlockGapError where they are not consecutive, ShapeError.
    """
    if not blocks:
        raise SpecError("no blocks to merge; give one at least")
    first = blocks[0]
    head = fold(None, first)
    sets: dict[str, ChangeSet] = {}
    for block in blocks:
        if block is not first:
            head = fold(head, block)
        if block.model != first.model:
            raise ForeignBlockError(
                f"blocks of models {first.model} and {block.model} cannot be merged; write them "
                "one by one"
            )
        for name, change in block.tables.items():
            if name not in sets:
                sets[name] = ChangeSet(change.weights.shape[1], change.state.shape[1])
            sets[name].absorb(change)
    if len(blocks) == 1:
        return first
    tables = {name: changes.merged() for name, changes in sorted(sets.items())}
    for change in tables.values():
        for array in (
            change.fids,
            change.last_seen_s,
            change.weights,
            change.state,
            change.removed,
        ):
            array.setflags(write=False)
    return replace(head, after=first.follows, tables=tables)
