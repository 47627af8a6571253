"""Who leads which shard now, as the coordinator knows it and the directory says it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ps.directory import Directory, Leader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ps.coordinator.fleet import ShardSeat


@dataclass(frozen=True, slots=True)
class Led:
    """A shard that is led. process: the one in the seat that was told to."""

    leader: Leader
    seat: ShardSeat
    process: str

    @property
    def is_up(self) -> bool:
        """Whether that very process is still there, as far as is known."""
        return self.seat.process == self.process


class Leaders:
    """The leaders by shard. Safe to use from several threads; every change raises the version."""

    def __init__(self, term: int, shards: int) -> None:
        self._changed = threading.Condition()
        self._led: tuple[Led | None, ...] = (None,) * shards
        self._version = (term, 1)

    @property
    def directory(self) -> Directory:
        """As everybody is told."""
        with self._changed:
            leaders = tuple(None if led is None else led.leader for led in self._led)
            return Directory(self._version, leaders)

    @property
    def shards(self) -> int:
        """How many there are."""
        return len(self._led)

    @property
    def is_whole(self) -> bool:
        """Whether every shard is led."""
        return all(led is not None for led in self._led)

    def of(self, shard: int) -> Led | None:
        """The leader of one shard; None too where there is no such shard (any more)."""
        led = self._led
        return led[shard] if shard < len(led) else None

    def all(self) -> dict[int, Led]:
        """Those there are, by shard."""
        return {shard: led for shard, led in enumerate(self._led) if led is not None}

    def put(self, shard: int, led: Led) -> None:
        """A shard is led by this one from now on."""
        with self._changed:
            self._replace_all((*self._led[:shard], led, *self._led[shard + 1 :]))

    def vacate(self, shard: int) -> None:
        """A shard is led by nobody."""
        with self._changed:
            if self.of(shard) is not None:
                self._replace_all((*self._led[:shard], None, *self._led[shard + 1 :]))

    def replace(self, led: Sequence[Led | None]) -> None:
        """All shards, of whatever number, in one step."""
        with self._changed:
            self._replace_all(tuple(led))

    def wait_whole(self, timeout_s: float) -> bool:
        """Wait until every shard is led; False where the time ran out first."""
        with self._changed:
            return self._changed.wait_for(lambda: self.is_whole, timeout_s)

    def _replace_all(self, led: tuple[Led | None, ...]) -> None:
        self._led = led
        term, count = self._version
        self._version = (term, count + 1)
        self._changed.notify_all()
