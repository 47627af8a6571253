"""Heads: all that a block says but its rows, and what the heads of several blocks amount to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ps.errors import BlockGapError, ForeignBlockError

if TYPE_CHECKING:
    from ps.block import Block, Cursor, FilterDelta

_PERIOD_BYTES = 8  # at the beginning of a filter's line: the period it was last used in


def head_of(block: Block) -> Block:
    """The block without its rows."""
    return replace(block, tables={})


def fold(before: Block | None, block: Block, *, at: Cursor | None = None) -> Block:
    """The head of `before` (a base, or blocks folded so far) with an ordinary block on top.

    Positions, owners, clocks and tallies are the later block's; the newest of every dense variable
    and filter line wins; ingest_us is the blocks' oldest. What is folded onto a base is a base: of its
    filters only the lines that still count are kept. before: None: nothing yet; then `at` says where
    the block must follow, None that it may follow anything.

    Raises ForeignBlockError where the block is a base or another shard's, BlockGapError where it
    does not follow.
    """
    stands = before.cursor if before is not None else at
    if block.base or (before is not None and before.shard != block.shard):
        raise ForeignBlockError(
            f"{'a base' if block.base else 'a block'} of shard {block.shard} cannot be laid over "
            "blocks; merge consecutive ordinary blocks of one shard"
        )
    if stands is not None and block.follows != stands:
        raise BlockGapError(block.shard, stands.epoch + 1, block.epoch)
    if before is None:
        return head_of(block)
    # How fresh a base is, its newest block says.
    read_us = (None if before.base else before.ingest_us, block.ingest_us)
    filters = {**before.filters}
    for name, change in block.filters.items():
        filters[name] = merged_filter(filters.get(name), change, counting_only=before.base)
    return replace(
        block,
        base=before.base,
        after=None if before.base else before.follows,
        ingest_us=min((us for us in read_us if us is not None), default=None),
        tables={},
        dense={**before.dense, **block.dense},
        filters=filters,
        tallies={**before.tallies, **block.tallies},
    )


def as_base(folded: Block) -> Block:
    """What was folded from nothing, as a base's head."""
    filters = {name: _counting(change) for name, change in folded.filters.items()}
    return replace(folded, base=True, after=None, tables={}, filters=filters)


def merged_filter(
    before: FilterDelta | None, change: FilterDelta, *, counting_only: bool
) -> FilterDelta:
    """The newest of every line, with the later clock.

    counting_only: without the lines of two periods ago and before, which count for nothing. A filter
    configured anew begins afresh.
    """
    shape = (change.wide, change.total_lines)
    if before is None or (before.wide, before.total_lines) != shape:
        return _counting(change) if counting_only else change
    kept = ~np.isin(before.lines, change.lines, assume_unique=True)
    lines = np.concatenate([before.lines[kept], change.lines])
    order = np.argsort(lines, kind="stable")
    merged = replace(
        change,
        lines=lines[order],
        cells=np.concatenate([before.cells[kept], change.cells])[order],
    )
    return _counting(merged) if counting_only else merged


def _counting(change: FilterDelta) -> FilterDelta:
    """Only the lines that still count, as AdmissionFilter.export() has them."""
    periods = np.ascontiguousarray(change.cells[:, :_PERIOD_BYTES]).view("<i8")[:, 0]
    counting = (periods > 0) & (periods >= change.period - 1)
    if counting.all():
        return change
    return replace(change, lines=change.lines[counting], cells=change.cells[counting])
