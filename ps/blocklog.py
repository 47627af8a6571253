"""The change log in memory: the latest blocks of every shard, for readers with cursors.

The writer never waits for a reader: what is dropped is decided by size alone, and a reader that
fell behind is told so and starts again from a base block.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from ps.errors import BlockError, BlockGapError, ForeignBlockError, SpecError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ps.block import Block, Cursor

# What a block costs besides its arrays: objects, names, positions.
_BLOCK_OVERHEAD_BYTES = 4096


def block_bytes(block: Block) -> int:
    """About how much memory the block keeps alive."""
    total = _BLOCK_OVERHEAD_BYTES
    for table in block.tables.values():
        for array in (table.fids, table.last_seen_s, table.weights, table.state, table.removed):
            total += array.nbytes
    for variable in block.dense.values():
        total += variable.weights.nbytes + variable.state.nbytes
    for change in block.filters.values():
        total += change.lines.nbytes + change.cells.nbytes
    return total


class BlockLog:
    """Blocks by shard, in order of epoch, trimmed from the oldest. Safe to use from many threads.

    max_bytes, max_blocks: bounds over all shards together; the newest block of a shard is kept even
    where it alone exceeds them, so that a reader who keeps up can always go on. base: makes a base
    block of a shard, for readers that start or start over; called outside the log's lock, so it must
    be safe to call from a reader's thread. None: base() is refused.
    """

    def __init__(
        self,
        max_bytes: int = 256 << 20,
        max_blocks: int = 600,
        base: Callable[[int], Block] | None = None,
    ) -> None:
        if max_bytes < 1 or max_blocks < 1:
            raise SpecError(
                f"a block log of {max_bytes} bytes and {max_blocks} blocks holds nothing; set both "
                "to 1 or more"
            )
        self._max_bytes = max_bytes
        self._max_blocks = max_blocks
        self._base = base
        self._changed = threading.Condition()
        self._blocks: dict[int, deque[tuple[Block, int]]] = {}
        self._arrivals: deque[int] = deque()  # shard of every block held, oldest first
        self._bytes = 0
        self._closed = False

    @property
    def held_bytes(self) -> int:
        """About how much memory the log keeps alive."""
        return self._bytes

    def append(self, block: Block) -> None:
        """Add a sealed epoch; wakes the readers, waits for none.

        A block of a later generation that does not follow the newest replaces all before it. Raises
        BlockGapError where a block of the same generation does not follow, ForeignBlockError where it
        is of an earlier generation, BlockError on a base block.
        """
        if block.base:
            raise BlockError(
                f"shard {block.shard}: a base block (epoch {block.epoch}) is no change; append "
                "sealed epochs"
            )
        with self._changed:
            held = self._blocks.setdefault(block.shard, deque())
            if held:
                newest = held[-1][0]
                if block.generation < newest.generation:
                    raise ForeignBlockError(
                        f"shard {block.shard}: block of generation {block.generation} after "
                        f"generation {newest.generation}; its writer has been replaced"
                    )
                if block.follows != newest.cursor:
                    if block.generation == newest.generation:
                        raise BlockGapError(block.shard, newest.epoch + 1, block.follows.epoch + 1)
                    self._forget(block.shard)
            size = block_bytes(block)
            held.append((block, size))
            self._arrivals.append(block.shard)
            self._bytes += size
            self._trim()
            self._changed.notify_all()

    def read(
        self, shard: int, after_epoch: int, limit: int = 64, generation: int | None = None
    ) -> list[Block]:
        """Up to `limit` blocks that follow epoch `after_epoch`, in order; none where none is new.

        generation: the cursor's, where the reader has one; without it the epoch alone must fit. Raises
        BlockGapError where the next block has been dropped, or the epoch given alone is ahead of the log;
        ForeignBlockError where the shard went on from elsewhere under another generation. Both mean:
        start again from base().
        """
        with self._changed:
            held = self._blocks.get(shard)
            if not held:
                return []
            newest = held[-1][0]
            if _is_current(newest.cursor, after_epoch, generation):
                return []
            # From the newest backwards: readers are seldom far behind.
            for first in range(len(held) - 1, -1, -1):
                if _stands_at(held[first][0].follows, after_epoch, generation):
                    return [held[i][0] for i in range(first, min(first + limit, len(held)))]
            if generation not in (None, newest.generation):
                raise ForeignBlockError(
                    f"shard {shard} is at generation {newest.generation}, the cursor at "
                    f"{generation}; start again from a base block"
                )
            nearest = newest if after_epoch > newest.epoch else held[0][0]
            raise BlockGapError(shard, after_epoch + 1, nearest.epoch)

    def wait_for(
        self, shard: int, after_epoch: int, timeout_s: float, generation: int | None = None
    ) -> bool:
        """Wait until read() with the same cursor has something to say; False on timeout or close()."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or self._has_news(shard, after_epoch, generation), timeout_s
            )
            return self._has_news(shard, after_epoch, generation)

    def base(self, shard: int) -> Block:
        """A fresh base block of the shard; reading goes on after its epoch.

        Raises BlockError where the log was made without a provider, and whatever that raises.
        """
        if self._base is None:
            raise BlockError(
                f"this log has no base blocks; restore shard {shard} from the block store"
            )
        return self._base(shard)

    def close(self) -> None:
        """Wake all who wait; nothing is dropped."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _has_news(self, shard: int, after_epoch: int, generation: int | None) -> bool:
        held = self._blocks.get(shard)
        if not held:
            return False
        return not _is_current(held[-1][0].cursor, after_epoch, generation)

    def _trim(self) -> None:
        """Drop the oldest arrivals until the bounds hold, sparing each shard's newest block."""
        spared = 0
        while len(self._arrivals) > spared and (
            self._bytes > self._max_bytes or len(self._arrivals) > self._max_blocks
        ):
            shard = self._arrivals[spared]
            held = self._blocks[shard]
            if len(held) == 1:
                spared += 1
                continue
            del self._arrivals[spared]
            self._bytes -= held.popleft()[1]

    def _forget(self, shard: int) -> None:
        held = self._blocks[shard]
        self._bytes -= sum(size for _, size in held)
        held.clear()
        self._arrivals = deque(other for other in self._arrivals if other != shard)

    def forget(self) -> None:
        """Drop every block: what follows is of another set of shards."""
        with self._changed:
            self._blocks.clear()
            self._arrivals.clear()
            self._bytes = 0


def _is_current(newest: Cursor, epoch: int, generation: int | None) -> bool:
    """Whether there is nothing after a cursor. A base may be newer than the block on its way here."""
    ahead = generation == newest.generation and epoch > newest.epoch
    return ahead or _stands_at(newest, epoch, generation)


def _stands_at(cursor: Cursor, epoch: int, generation: int | None) -> bool:
    return cursor.epoch == epoch and generation in (None, cursor.generation)
