"""Killing a training process with -9, again and again, until one life reaches the end."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.faults import trainee

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from pathlib import Path

    import numpy as np

    from tests.faults.marks import Mark

DEADLINE_S = 120.0
# Forked from a server that has the imports and kernels: a life costs tens of milliseconds to begin.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.faults.nursery"])


@dataclass(frozen=True, slots=True)
class Ended:
    """What the last life left behind, and how many were cut short before it."""

    outcome: dict[str, Any]
    kills: int


def train_whole(job: Path, operation: str | None = None) -> dict[str, Any]:
    """The outcome of a life that nobody cuts short."""
    outcome_file = job.with_suffix(".outcome")
    process = _begin(job, outcome_file, operation=operation)
    process.join(DEADLINE_S)
    assert process.exitcode == 0, f"the run ended with {process.exitcode}"
    return _read(outcome_file)


def train_and_kill(
    job: Path, rng: np.random.Generator, longest_life_s: float, most_kills: int
) -> Ended:
    """Cut lives short at random instants up to longest_life_s, then let one live."""
    outcome_file = job.with_suffix(".outcome")
    outcome_file.unlink(missing_ok=True)
    kills = 0
    while kills < most_kills:
        process = _begin(job, outcome_file)
        process.join(rng.uniform(0.0, longest_life_s))
        if process.exitcode is None:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join(DEADLINE_S)
        if process.exitcode != -signal.SIGKILL:
            assert process.exitcode == 0, f"the run ended with {process.exitcode}"
            break
        kills += 1
    else:
        return Ended(train_whole(job), kills)
    return Ended(_read(outcome_file), kills)


def train_and_crash(job: Path, mark: Mark, occurrence: int, operation: str | None = None) -> bool:
    """One life that dies before a step of a protocol; whether it came to that step."""
    process = _begin(job, job.with_suffix(".outcome"), (mark, occurrence), operation)
    process.join(DEADLINE_S)
    assert process.exitcode in (0, -signal.SIGKILL), f"the run ended with {process.exitcode}"
    return process.exitcode == -signal.SIGKILL


def _begin(
    job: Path,
    outcome_file: Path,
    crash_at: tuple[Mark, int] | None = None,
    operation: str | None = None,
) -> BaseProcess:
    process = _processes.Process(
        target=trainee.train,
        args=(str(job), str(outcome_file), crash_at, operation),
        daemon=True,
    )
    process.start()
    return process


def _read(outcome_file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(outcome_file.read_text())
    return found
