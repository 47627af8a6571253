"""The frame of a run that commands share: a plan, kernels compiled, a reporter, a way to stop."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cluster.cli.reporter import Reporter
    from cluster.local import GoOnFrom, LocalRun
    from cluster.plan import Plan


def planned(job_file: Path, *, max_examples: int | None = None, store: str | None = None) -> Plan:
    """The plan of a job file. store: URL instead of the job's. Raises JobFileError, SourceError."""
    from cluster.job import load_job, resolve

    plan = resolve(load_job(job_file), store=store)
    if max_examples is None:
        return plan
    return replace(plan, train=replace(plan.train, max_examples=max_examples))


def go_on_from(plan: Plan, epoch: int | None, reset: Sequence[str] | None) -> GoOnFrom:
    """What the run is to go on from. Raises NoStoreError where it could not."""
    from ps.errors import NoStoreError

    if plan.store is None and (epoch is not None or reset):
        raise NoStoreError("going on from a restore point")
    from cluster.local import GoOnFrom

    return GoOnFrom(epoch, tuple(reset or ()))


def compile_kernels(plan: Plan, reporter: Reporter) -> None:
    """Compile before anything is timed or served; says so, since it takes a while the first time."""
    from cluster.warmup import warm_up

    warm_up(plan, lambda step: reporter.step(f"{step} (the first time it takes up to a minute)"))


@contextmanager
def started(plan: Plan, reporter: Reporter, wanted: GoOnFrom, *, serve: bool) -> Iterator[LocalRun]:
    """A run that listens, and has said where: what it goes on from is checked, then kernels compiled.

    Raises what LocalRun and its start_servers() raise.
    """
    from cluster.local import LocalRun
    from ps.clock import SystemClock

    if plan.store is not None:
        reporter.step(f"opening {plan.store.url}")
    with LocalRun(
        plan,
        clock=SystemClock(),
        serve=serve,
        on_progress=reporter.progress,
        go_on_from=wanted,
        say=reporter.say,
        prepare=lambda: compile_kernels(plan, reporter),
    ) as run:
        run.start_servers()
        if run.admin_address is not None:
            reporter.say(f"ps-admin reaches this job at {run.admin_address}")
        yield run
