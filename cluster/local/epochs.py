"""Epochs of all shards: cut between two batches, gathered beside the training, handed on whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.local.learning import Learning
    from ps.block import Block
    from ps.clock import Clock

# Rows copied out between two batches, over all shards: a few milliseconds, so that training and
# serving never wait for an epoch of millions of rows.
GATHER_ROWS = 65_536
_ALL_ROWS = 1 << 62


@dataclass(frozen=True, slots=True)
class SealedEpoch:
    """One epoch of the job: a block of every shard, all as of one moment between two batches."""

    blocks: tuple[Block, ...]


class Epochs:
    """Ends an epoch every interval_s, and gives it to on_sealed once it is out. One thread's own.

    Where an interval passes while an epoch is still being gathered, that one is finished first.
    """

    def __init__(
        self,
        learning: Learning,
        clock: Clock,
        interval_s: float,
        on_sealed: Callable[[SealedEpoch], None],
    ) -> None:
        self._learning = learning
        self._clock = clock
        self._interval_s = interval_s
        self._on_sealed = on_sealed
        self._blocks: dict[int, Block] | None = None
        self._begun_s = clock.monotonic_s()

    def tick(self, now_s: float) -> None:
        """Between two batches: go on gathering, or cut an epoch where it is time."""
        if self._blocks is None and now_s - self._begun_s >= self._interval_s:
            self._begin()
        if self._blocks is not None:
            self._gather(GATHER_ROWS)

    def seal(self) -> None:
        """End the current epoch and hand it on, after the one under way."""
        self.finish()
        self._begin()
        self.finish()

    def finish(self) -> None:
        """Gather the epoch under way to its end, if there is one."""
        while self._blocks is not None:
            self._gather(_ALL_ROWS)

    def _begin(self) -> None:
        self._begun_s = self._clock.monotonic_s()
        sealed_us = self._clock.now_us()
        with self._learning.lock:
            for shard in self._learning.shards:
                shard.begin_seal(sealed_us)
        self._blocks = {}

    def _gather(self, budget_rows: int) -> None:
        assert self._blocks is not None  # noqa: S101  # callers have looked
        shards = self._learning.shards
        under_way = [number for number in range(len(shards)) if number not in self._blocks]
        for number in under_way:
            with self._learning.lock:
                block = shards[number].gather(max(1, budget_rows // len(under_way)))
            if block is not None:
                self._blocks[number] = block
        if len(self._blocks) == len(shards):
            blocks, self._blocks = self._blocks, None
            self._on_sealed(SealedEpoch(tuple(blocks[number] for number in range(len(shards)))))
