"""Who reads which partitions of the stream, at which generation."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ps.coordinator.assignment import assign
from ps.coordinator.orders import Assignment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ps.clock import Clock
    from ps.coordinator.fleet import Fleet
    from ps.coordinator.members import Members
    from ps.store.commit import Skips

# A worker that has not reported for so long has lost its partitions, whatever else it may be doing.
SILENT_S = 10.0
# At first, workers come up one after another: not every one of them is a reason to deal anew.
_SETTLE_S = 3.0
# Partitions come and go seldom, and looking may mean listing a folder far away.
_LOOK_S = 10.0


@dataclass(frozen=True, slots=True)
class _Owner:
    """process: the one that was given it; another has none of it."""

    process: str
    assignment: Assignment


class Ownership:
    """Deals partitions out to the workers that are up. Orders may be read by any thread.

    draw: a generation above any before. is_fit: whether a worker's process may be given any.
    """

    def __init__(
        self,
        fleet: Fleet,
        members: Members,
        partitions: Callable[[], Sequence[str]],
        draw: Callable[[], int],
        clock: Clock,
        is_fit: Callable[[int], bool],
    ) -> None:
        self._fleet = fleet
        self._members = members
        self._partitions = partitions
        self._draw = draw
        self._clock = clock
        self._is_fit = is_fit
        self._changing = threading.Lock()
        self._owners: dict[int, _Owner] = {}
        self._known: tuple[str, ...] = ()
        self._looked_s: float | None = None
        self._began_s = clock.monotonic_s()
        self.skips: Skips = {}

    def of(self, worker: int, process: str) -> Assignment | None:
        """What a process is to read; None: nothing (yet)."""
        owner = self._owners.get(worker)
        return owner.assignment if owner is not None and owner.process == process else None

    def owned(self) -> dict[str, int]:
        """The worker of each partition."""
        owners = self._owners
        return {p: w for w, owner in owners.items() for p in owner.assignment.partitions}

    def live(self) -> dict[int, str]:
        """The workers that are up, have reported of late, and run the job's code: their processes."""
        found = {}
        for worker in range(self._fleet.workers):
            process, report = self._fleet.worker_process(worker), self._members.worker(worker)
            if process is None or report is None or report.process != process:
                continue
            if self._members.silent_s(worker) <= SILENT_S and self._is_fit(worker):
                found[worker] = process
        return found

    def review(self) -> list[int]:
        """Deal anew where it is needed; the workers that have been given something else.

        Raises FencedError, StoreUnavailableError; then all is as it was.
        """
        with self._changing:
            live = self.live()
            waited_s = self._clock.monotonic_s() - self._began_s
            if not self._owners and len(live) < self._fleet.workers and waited_s < _SETTLE_S:
                return []
            self._look()
            return self._deal(live)

    def renew(self, generation: int, skips: Skips, state: bytes | None) -> None:
        """Give every partition out again at a new generation, with what is left out from now on.

        What was counted before has no part in the job's state any more, which is `state`.
        """
        with self._changing:
            self.skips = dict(skips)
            self._members.reset(state, generation)
            before = {w: owner.assignment.partitions for w, owner in self._owners.items()}
            live = self.live()
            wanted = assign(self._known, live, before)
            self._owners = {
                worker: _Owner(live[worker], Assignment(generation, own, self.skips, state))
                for worker, own in wanted.items()
            }

    def _look(self) -> None:
        now_s = self._clock.monotonic_s()
        if self._looked_s is None or now_s - self._looked_s >= _LOOK_S:
            self._known = tuple(sorted(self._partitions()))
            self._looked_s = now_s

    def _deal(self, live: dict[int, str]) -> list[int]:
        before = {
            worker: owner.assignment.partitions
            for worker, owner in self._owners.items()
            if live.get(worker) == owner.process
        }
        wanted = assign(self._known, live, before)
        changed = sorted(worker for worker, own in wanted.items() if before.get(worker) != own)
        if not changed and self._owners.keys() <= wanted.keys():
            return []
        kept = {worker: self._owners[worker] for worker in wanted if worker not in changed}
        if changed:
            generation, state = self._draw(), self._members.merged()
            for worker in changed:
                given = Assignment(generation, wanted[worker], self.skips, state)
                kept[worker] = _Owner(live[worker], given)
        self._owners = kept
        return changed
