"""Epochs of all shards: cut between two batches, gathered beside the training, handed on whole."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ps.errors import JobBusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cluster.local.learning import Learning
    from ps.block import Block
    from ps.clock import Clock
    from ps.store.commit import Skips
    from worker.event_time_guard import GuardState
    from worker.state import WorkerState

# Rows copied out between two batches, over all shards: a few milliseconds (up to 15, where memory is
# had for the first time), so that neither training nor serving waits for an epoch of millions of rows.
GATHER_ROWS = 32_768
# Cutting such an epoch takes its own time (30 ms for 5 M rows); gathering then begins a batch later.
_QUICK_S = 0.005
_ALL_ROWS = 1 << 62


@dataclass(frozen=True, slots=True)
class SealedEpoch:
    """One epoch of the job, as of one moment between two batches.

    blocks: of every shard, by number. worker, skips, rows: what was known of the stream then, what is
    left out of it, and how many rows there were by table. asked_for: somebody wants this very one.
    """

    blocks: tuple[Block, ...]
    worker: WorkerState
    skips: Skips
    rows: Mapping[str, int]
    asked_for: bool = False

    @property
    def number(self) -> int:
        """The epoch."""
        return max(block.epoch for block in self.blocks)


class Cut:
    """An epoch that somebody asked for. number: known once it has been handed on."""

    def __init__(self) -> None:
        self.number = 0
        self._handed_on = threading.Event()

    def wait(self, timeout_s: float) -> int:
        """Its number. Raises JobBusyError where it has not been handed on in time."""
        if not self._handed_on.wait(timeout_s):
            raise JobBusyError(f"the epoch asked for was not sealed within {timeout_s:g} s")
        return self.number

    def hand_on(self, number: int) -> None:
        """The epoch of this number has been handed on."""
        self.number = number
        self._handed_on.set()


@dataclass(slots=True)
class _UnderWay:
    """An epoch that has been cut: what is known of it already, and the blocks gathered so far."""

    epoch: SealedEpoch
    blocks: dict[int, Block]
    cuts: tuple[Cut, ...]


class Epochs:
    """Ends an epoch every interval_s, and gives it to on_sealed once it is out. One thread's own.

    Where an interval passes while an epoch is still being gathered, that one is finished first.
    guard: what was known of event times when the last epoch that was handed on was cut.
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
        self.guard: GuardState | None = None
        self._asked: list[Cut] = []
        self._under_way: _UnderWay | None = None
        self._begun_s = clock.monotonic_s()

    @property
    def number(self) -> int:
        """The last epoch that was cut."""
        return max(shard.cursor.epoch for shard in self._learning.shards)

    def ask(self) -> Cut:
        """Have an epoch cut as soon as the one under way, if any, is out."""
        cut = Cut()
        self._asked.append(cut)
        return cut

    def tick(self, now_s: float) -> None:
        """Between two batches: go on gathering, or cut an epoch where it is time."""
        if self._under_way is None and (self._asked or now_s - self._begun_s >= self._interval_s):
            self._begin()
            if self._clock.monotonic_s() - self._begun_s > _QUICK_S:
                return
        if self._under_way is not None:
            self._gather(self._under_way, GATHER_ROWS)

    def seal(self, *, asked_for: bool = False) -> None:
        """End the current epoch and hand it on, after the one under way."""
        self.finish()
        self._begin(asked_for=asked_for)
        self.finish()

    def finish(self) -> None:
        """Gather the epoch under way to its end, if there is one."""
        while self._under_way is not None:
            self._gather(self._under_way, _ALL_ROWS)

    def _begin(self, *, asked_for: bool = False) -> None:
        self._begun_s = self._clock.monotonic_s()
        sealed_us = self._clock.now_us()
        with self._learning.lock:
            for shard in self._learning.shards:
                shard.begin_seal(sealed_us)
        cuts, self._asked = tuple(self._asked), []
        epoch = SealedEpoch(
            blocks=(),
            worker=self._learning.trainer.state(),
            skips=self._learning.skips,
            rows=self._learning.rows(),
            asked_for=asked_for or bool(cuts),
        )
        self._under_way = _UnderWay(epoch, {}, cuts)

    def _gather(self, under_way: _UnderWay, budget_rows: int) -> None:
        shards, blocks = self._learning.shards, under_way.blocks
        missing = [number for number in range(len(shards)) if number not in blocks]
        for number in missing:
            with self._learning.lock:
                block = shards[number].gather(max(1, budget_rows // len(missing)))
            if block is not None:
                blocks[number] = block
        if len(blocks) < len(shards):
            return
        self._under_way = None
        whole = tuple(blocks[number] for number in range(len(shards)))
        epoch = replace(under_way.epoch, blocks=whole)
        self.guard = epoch.worker.guard
        self._on_sealed(epoch)
        for cut in under_way.cuts:
            cut.hand_on(epoch.number)
