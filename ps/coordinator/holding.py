"""Holding: all workers stand still, and all shards at the same positions of the stream."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ps.errors import JobBusyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ps.coordinator.job import Job

# Time for workers to learn again what a shard that was replaced has lost, before they are held anew.
_LEARN_S = 0.5
_ANSWER_S = 5.0
_LOOK_S = 0.1


@contextmanager
def held(job: Job, what: str, deadline_s: float) -> Iterator[None]:
    """Nothing is learned meanwhile, and all shards stand at the same positions:

    1. tell the workers to stand still
    2. wait until each that is up says that it does
    3. compare where the shards stand; where they differ, since one was replaced and has not learned
       again what the others have, let the workers go on for a while, and begin again
    4. let the workers go, whatever happened

    what: begins the message of an error. Raises JobBusyError where that is not so within deadline_s;
    then workers go on as before.
    """
    by_s = job.clock.monotonic_s() + deadline_s
    while True:
        number = job.holds.take()  # 1
        try:
            _wait_held(job, number, what, by_s)  # 2
            if _is_aligned(job, what, by_s):  # 3
                yield
                return
            if job.holds.others:
                raise JobBusyError(
                    f"{what} needs all shards at one position. One that was replaced still has to "
                    "learn again what the others have, and training is paused: ps-admin resume "
                    "training, then try again"
                )
        finally:
            job.holds.let_go()  # 4
        if job.clock.monotonic_s() >= by_s:
            raise JobBusyError(
                f"{what}: the shards have stood at different positions for {deadline_s:g} s, since a "
                "shard was replaced and the stream has not been read again so far; look at the "
                "job's status, and try again"
            )
        job.stopped.wait(_LEARN_S)


def _wait_held(job: Job, number: int, what: str, by_s: float) -> None:
    while True:
        missing = _not_held(job, number)
        if not missing:
            return
        left_s = by_s - job.clock.monotonic_s()
        if left_s <= 0 or job.stopped.is_set():
            listed = ", ".join(map(str, missing))
            raise JobBusyError(
                f"{what}: worker(s) {listed} did not come to rest in time; look at the job's status, "
                "and try again"
            )
        # A worker may also go, which no report tells.
        job.members.wait_for(lambda: not _not_held(job, number), min(left_s, _LOOK_S))


def _not_held(job: Job, number: int) -> list[int]:
    """The workers that are up, or seem to be, and have not said that they stand still."""
    found = []
    for worker in range(job.fleet.workers):
        process, report = job.fleet.worker_process(worker), job.members.worker(worker)
        if process is None or job.fitness.refusal(f"worker {worker}") is not None:
            continue
        if report is not None and report.process != process:
            # A new process, which has not been given anything to do. One that has never reported may
            # have been, by a coordinator before this one.
            continue
        if report is None or (report.held != number and report.phase != "failed"):
            found.append(worker)
    return found


def _is_aligned(job: Job, what: str, by_s: float) -> bool:
    """Whether all shards stand at the same positions. Raises JobBusyError where one is not led."""
    while not job.leaders.wait_whole(_LOOK_S):
        if job.clock.monotonic_s() >= by_s or job.stopped.is_set():
            raise JobBusyError(f"{what}: not every shard has a leader; look at the job's status")
    answers = job.fanout.each(
        "where it stands", job.leaders.all(), lambda _, led: led.seat.port.hello(), _ANSWER_S
    )
    if answers.errors:
        return False
    positions = [status.positions for status in answers.results.values()]
    return all(one == positions[0] for one in positions)
