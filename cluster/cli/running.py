"""The frame of a run that commands share: a plan, kernels compiled, a reporter, a way to stop."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.cli.reporter import Reporter
    from cluster.plan import Plan


def planned(job_file: Path, max_examples: int | None = None) -> Plan:
    """The plan of a job file. Raises JobFileError, SourceError."""
    from cluster.job import load_job, resolve

    plan = resolve(load_job(job_file))
    if max_examples is None:
        return plan
    return replace(plan, train=replace(plan.train, max_examples=max_examples))


def compile_kernels(plan: Plan, reporter: Reporter) -> None:
    """Compile before anything is timed or served; says so, since it takes a while the first time."""
    from cluster.warmup import warm_up

    warm_up(plan, lambda step: reporter.step(f"{step} (the first time it takes up to a minute)"))
