"""The loop of the training thread: batch by batch, and between two what is due or asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.prefetch import IDLE, Prefetcher
from worker.rate import RecentRate

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from cluster.local.control import Control
    from cluster.local.epochs import Epochs
    from cluster.local.learning import Learning
    from cluster.plan import Plan
    from ps.clock import Clock
    from worker.preparation import Prepared

# How often a paused or finished run looks whether it is to stop; requests wake it at once.
_LOOK_S = 0.2
# The same where the source is quiet: requests are not waited for then, only looked at.
_QUIET_S = 0.02


class Loop:
    """Learns from where the shards stand to the end of the stream, and starts over when told to.

    paused: whether to wait between two batches. restart(): what was read ahead is thrown away and
    the stream opened again where the shards then stand. Where the source is quiet, everything but
    learning goes on. All in one thread, that of `learn`.
    """

    def __init__(
        self,
        plan: Plan,
        learning: Learning,
        epochs: Epochs,
        control: Control,
        clock: Clock,
        on_tick: Callable[[float], None],
    ) -> None:
        self.paused = False
        self.rate = RecentRate()
        self._plan = plan
        self._learning = learning
        self._epochs = epochs
        self._control = control
        self._clock = clock
        self._on_tick = on_tick
        self._restart = False

    def restart(self) -> None:
        """Open the stream anew after the request or batch at hand."""
        self._restart = True

    def learn(self, stop: threading.Event) -> bool:
        """Learn until the stream ends (True) or stop is set (False)."""
        while not stop.is_set():
            self._restart = False
            ended = self._read(stop)
            if not self._restart:
                return ended
        return False

    def hold(self, stop: threading.Event) -> bool:
        """Wait for stop (False), or for a reason to read the stream again (True)."""
        self.rate = RecentRate()
        while not stop.is_set():
            self._control.wait(min(_LOOK_S, self._plan.serve.sync_interval_s))
            self._between(0)
            if self._restart:
                self.rate = RecentRate()
                return True
        return False

    def _read(self, stop: threading.Event) -> bool:
        """Learn from the stream as it stands open now, to its end (True), a stop or a restart."""
        for number, prepared in self._learning.open_stream():
            # A second look at an example flatters the model.
            self._learning.trainer.validating = number == 0
            with Prefetcher(prepared, depth=self._plan.train.prefetch_batches) as batches:
                self._learn_from(batches, stop)
            if stop.is_set() or self._restart:
                return False
        return True

    def _learn_from(self, batches: Prefetcher[Prepared], stop: threading.Event) -> None:
        """Learn from what is read ahead, to its end, a stop or a restart."""
        while not stop.is_set() and not self._restart:
            try:
                batch = batches.next_within(_QUIET_S)
            except StopIteration:
                return
            if batch is IDLE:
                self._between(0)
                continue
            self._wait_while_paused(stop)
            if stop.is_set() or self._restart:
                return
            self._between(self._learning.learn(batch))

    def _wait_while_paused(self, stop: threading.Event) -> None:
        """Between two batches, and doing what is asked."""
        if not self.paused:
            return
        # Neither does the rate of before hold on, nor will the pause count as slow learning.
        self.rate = RecentRate()
        while not (self._restart or stop.is_set()) and self.paused:
            self._control.wait(min(_LOOK_S, self._plan.serve.sync_interval_s))
            self._between(0)
        self.rate = RecentRate()

    def _between(self, learned: int) -> None:
        """The moment between two batches."""
        now_s = self._clock.monotonic_s()
        self.rate.add(learned, now_s)
        self._epochs.tick(now_s)
        self._control.carry_out()
        self._on_tick(now_s)
