"""Failover: another process of a shard leads it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ps.admin.target import FailoverReport
from ps.errors import JobBusyError, PsError, SpecError

if TYPE_CHECKING:
    from ps.coordinator.coordinator import Coordinator
    from ps.stream import Positions

# A shard that has to be restored takes its time.
_LED_S = 300.0
_CAUGHT_UP_S = 2.0
_LOOK_S = 0.01
_ANSWER_S = 5.0


def fail_over(coordinator: Coordinator, shard: int) -> FailoverReport:
    """Replace the leader of a shard, while training goes on:

    1. make a restore point, so that nothing has to be learned again where there is no standby
    2. give standbys a moment to have the newest epoch
    3. have another process lead, at a generation of its own: the standby furthest on, or one that is
       restored from the store; the old one steps down

    What was learned after the newest epoch of whoever leads next is learned again from the stream; the
    other shards ignore it. A crash after 1 leaves the old leader. Raises SpecError, and JobBusyError
    where nobody leads within the time; it is then still being looked for.
    """
    job = coordinator.job
    if not 0 <= shard < job.shards:
        raise SpecError(f"there is no shard {shard}; they are 0 to {job.shards - 1}")
    began_s = job.clock.monotonic_s()
    before = job.leaders.of(shard)
    try:
        coordinator.commits.commit()  # 1
    except PsError as error:
        job.say(f"failover of shard {shard}: {error}; going on without a newer restore point")
    _let_catch_up(coordinator, shard)  # 2
    coordinator.leadership.ensure(shard, avoid=None if before is None else before.process)  # 3
    pause = threading.Event()
    led = job.leaders.of(shard)
    while led is None or led is before or coordinator.leadership.is_at(shard):
        if job.clock.monotonic_s() - began_s > _LED_S or job.stopped.is_set():
            why = coordinator.leadership.errors.get(shard, "nobody has answered")
            raise JobBusyError(f"failover of shard {shard}: nobody leads it yet: {why}")
        pause.wait(_LOOK_S)
        led = job.leaders.of(shard)
    return FailoverReport(
        shard=shard,
        source="store" if coordinator.leadership.sources.get(shard) == "store" else "standby",
        generation=led.leader.generation,
        epoch=job.numbering.newest,
        positions=_oldest(coordinator),
        seconds=job.clock.monotonic_s() - began_s,
    )


def _let_catch_up(coordinator: Coordinator, shard: int) -> None:
    job, pause = coordinator.job, threading.Event()
    epoch = coordinator.commits.seal()
    by_s = job.clock.monotonic_s() + _CAUGHT_UP_S
    while job.clock.monotonic_s() < by_s:
        found = [one.status for one in coordinator.leadership.candidates(shard)]
        standbys = [status for status in found if status.role == "following"]
        if not standbys or any(one.cursor and one.cursor.epoch >= epoch for one in standbys):
            return
        pause.wait(_LOOK_S)


def _oldest(coordinator: Coordinator) -> Positions:
    """Per partition, where it is read again from."""
    job = coordinator.job
    answers = job.fanout.each(
        "where it resumes", job.leaders.all(), lambda _, led: led.seat.port.hello(), _ANSWER_S
    )
    positions = [status.positions for status in answers.results.values()]
    partitions = sorted({partition for of_shard in positions for partition in of_shard})
    return {p: min(of_shard.get(p, 0) for of_shard in positions) for p in partitions}
