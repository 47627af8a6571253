"""What a shard has sealed, or followed, since the store last had all of it."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ps.blocklog import block_bytes
from ps.errors import BlockGapError
from ps.store.merge import merge_blocks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ps.block import Block, Cursor

# These newest blocks are never merged: the store may stand between any two of them without our
# knowing it yet, where it was another process that saved.
_KEPT_APART = 8
# A commit may have been made though its writer was not told so: the store then stands where one of the
# last few saves ended, and may be asked to go on from any of them.
_SAVES_REMEMBERED = 8


@dataclass(frozen=True, slots=True)
class Sealed:
    """One block, and the rows that were alive after it, by table."""

    block: Block
    rows: Mapping[str, int]

    @property
    def head(self) -> Block:
        """The block without anything it holds."""
        return replace(self.block, tables={}, dense={}, filters={})


class UnsavedBlocks:
    """Blocks in order, from where the store stands on. Safe to use from several threads.

    begin: where the shard stands now, and nothing is unsaved. Beyond max_bytes or max_blocks they are
    crowded(): then merge(), which keeps a row that was touched in several once.
    """

    def __init__(self, begin: Sealed, max_bytes: int = 256 << 20, max_blocks: int = 64) -> None:
        self._max_bytes = max_bytes
        self._max_blocks = max_blocks
        self._changing = threading.Lock()
        self._merging = threading.Lock()
        self._begin = Sealed(begin.head, begin.rows)
        self._blocks: list[Sealed] = []
        self._merged_bytes = 0
        self._saves: deque[Cursor] = deque(maxlen=_SAVES_REMEMBERED)

    @property
    def begin(self) -> Cursor:
        """Where the store stood when it was last heard of."""
        return self._begin.block.cursor

    @property
    def end(self) -> Cursor:
        """The newest block's; where the store stands if there is none."""
        with self._changing:
            return (self._blocks[-1] if self._blocks else self._begin).block.cursor

    def __len__(self) -> int:
        return len(self._blocks)

    def add(self, block: Block, rows: Mapping[str, int]) -> None:
        """The next block. Raises BlockGapError where it does not follow the newest."""
        with self._changing:
            newest = self._blocks[-1] if self._blocks else self._begin
            if block.follows != newest.block.cursor:
                raise BlockGapError(block.shard, newest.block.epoch + 1, block.epoch)
            self._blocks.append(Sealed(block, rows))

    def bridge(self, to: Cursor) -> None:
        """Nothing happened between the newest block and a cursor, and what comes next follows that."""
        with self._changing:
            newest = self._blocks[-1] if self._blocks else self._begin
            at = newest.block.cursor
            if to != at:
                head = replace(newest.head, epoch=to.epoch, generation=to.generation, after=at)
                self._blocks.append(Sealed(replace(head, ingest_us=None), newest.rows))

    def forget(self, after: Cursor) -> bool:
        """The store stands there: what is older is not needed any more. False where no block that is
        held ends there; then nothing is forgotten.
        """
        with self._changing:
            number = self._number_after(after)
            if number:
                self._begin = Sealed(self._blocks[number - 1].head, self._blocks[number - 1].rows)
                del self._blocks[:number]
            return number is not None

    def take(self, after: Cursor) -> tuple[Sealed, Sequence[Sealed]]:
        """How things stood at a cursor, and all blocks since, to be saved together.

        Raises BlockGapError where they are not held.
        """
        with self._changing:
            number = self._number_after(after)
            if number is None:
                raise BlockGapError(
                    self._begin.block.shard, after.epoch + 1, self._begin.block.epoch + 1
                )
            blocks = self._blocks[number:]
            if blocks:
                self._saves.append(blocks[-1].block.cursor)
            return (self._blocks[number - 1] if number else self._begin), blocks

    def crowded(self) -> bool:
        """Whether they are so many, or so large, that they are to be merged."""
        with self._changing:
            size = sum(block_bytes(sealed.block) for sealed in self._blocks)
            # Merging must have something to gain: twice what the last merge left, or too many.
            limit = max(self._max_bytes, 2 * self._merged_bytes)
            return len(self._blocks) > max(self._max_blocks, 2 * _KEPT_APART) or (
                size > limit and len(self._blocks) > _KEPT_APART + 1
            )

    def merge(self) -> None:
        """Make one block of each run of blocks between which the store cannot stand.

        Others may add and take blocks meanwhile.
        """
        with self._merging:
            with self._changing:
                runs = self._runs()
            for run in runs:
                merged = Sealed(merge_blocks([one.block for one in run]), run[-1].rows)
                with self._changing:
                    self._replace(run, merged)

    def _runs(self) -> list[list[Sealed]]:
        runs: list[list[Sealed]] = [[]]
        for sealed in self._blocks[:-_KEPT_APART]:
            runs[-1].append(sealed)
            if sealed.block.cursor in self._saves:
                runs.append([])
        return [run for run in runs if len(run) > 1]

    def _replace(self, run: list[Sealed], merged: Sealed) -> None:
        first = next((i for i, one in enumerate(self._blocks) if one is run[0]), None)
        if first is None or any(one.block.cursor in self._saves for one in run[:-1]):
            return  # the store has got on meanwhile, or is about to
        self._blocks[first : first + len(run)] = [merged]
        self._merged_bytes = block_bytes(merged.block)

    def _number_after(self, after: Cursor) -> int | None:
        """How many blocks lead up to a cursor; None where none ends there."""
        if after == self.begin:
            return 0
        ends = (i for i, one in enumerate(self._blocks, start=1) if one.block.cursor == after)
        return next(ends, None)
