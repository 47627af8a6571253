"""Standbys: whatever process of a shard does not lead is told whom to follow."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ps.coordinator.job import to_be_sent
from ps.errors import PsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.coordinator.fleet import ShardSeat
    from ps.coordinator.job import Job
    from ps.coordinator.leaders import Led
    from ps.host.port import HostStatus

# Of the process that follows: itself, and the leader's address and generation.
_Told = tuple[str, str, int]


class Standbys:
    """Remembers what each has been told, and tells it again where that has changed."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._changing = threading.Lock()
        self._told: dict[str, _Told] = {}
        self._under_way: set[str] = set()

    def review(self, seen: Mapping[str, HostStatus]) -> None:
        """Tell those that are to be told something; returns at once. seen: how processes stand, by seat."""
        job = self._job
        for shard, led in job.leaders.all().items():
            for seat in job.fleet.seats(shard):
                status = seen.get(seat.name)
                if status is None or seat.name == led.seat.name or seat.process != status.process:
                    continue
                told = (status.process, led.leader.address, led.leader.generation)
                with self._changing:
                    is_known = self._told.get(seat.name) == told and status.role == "following"
                    if is_known or seat.name in self._under_way:
                        continue
                    self._under_way.add(seat.name)
                job.fanout.submit(
                    lambda shard=shard, seat=seat, led=led, told=told: self._tell(  # type: ignore[misc]
                        shard, seat, led, told
                    )
                )

    def _tell(self, shard: int, seat: ShardSeat, led: Led, told: _Told) -> None:
        job = self._job
        try:
            # Since this was decided the seat may have become the leader's.
            if shard < job.shards and job.leaders.of(shard) is led:
                way = job.keeping.way()
                commit = None if way is None else to_be_sent(way)
                spec, address = job.specs[shard], led.leader.address
                seat.port.follow(job.term, spec, job.shards, commit, address)
                with self._changing:
                    self._told[seat.name] = told
        except PsError as error:
            # It is told again when it is looked at next.
            job.has_been_replaced(error)
        finally:
            with self._changing:
                self._under_way.discard(seat.name)
