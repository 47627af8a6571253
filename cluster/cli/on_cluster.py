"""The commands on a Ray cluster: what --cluster stands for, in train and in serve."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from cluster.cli.reporter import Reporter
    from cluster.cli.signals import StopOnSignal
    from cluster.errors import RunError
    from cluster.fleet.launch import ClusterRun
    from cluster.fleet.report import Outcome
    from cluster.fleet.shipping import JobText
    from cluster.plan import Plan
    from ps.store.resume import GoOnFrom

Address = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="ADDRESS",
        help="Run on the Ray cluster there: auto (this machine's), HOST:PORT, ray://HOST:PORT.",
        show_default=False,
    ),
]
Shards = Annotated[
    int | None,
    typer.Option(min=1, help="On a cluster: instead of the job file's.", show_default=False),
]
Standbys = Annotated[
    int | None,
    typer.Option(min=0, help="On a cluster: of each shard.", show_default=False),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="On a cluster: instead of the job file's.", show_default=False),
]
Replicas = Annotated[
    int | None,
    typer.Option(min=0, help="On a cluster: instead of the job file's.", show_default=False),
]
ShowLogs = Annotated[
    bool, typer.Option("--show-logs", help="On a cluster: print what its processes print.")
]


def shipped(
    job_file: Path,
    numbers: Mapping[str, int | None],
    *,
    store: str | None,
    max_examples: int | None = None,
    serve: bool = False,
) -> JobText:
    """The job, ready to be sent. numbers: of processes, by the name of their option.

    Raises JobFileError for what cannot run on a cluster.
    """
    from cluster.fleet.shipping import JobText
    from cluster.job.resolve_cluster import Spread

    return JobText.read(
        job_file,
        spread=Spread(**numbers),
        store=store,
        max_examples=max_examples,
        serve=serve,
    )


def refuse_numbers(**numbers: object) -> None:
    """Options that mean nothing in one process. Raises typer.BadParameter."""
    given = [f"--{name.replace('_', '-')}" for name, value in numbers.items() if value]
    if given:
        raise typer.BadParameter(
            f"{', '.join(given)} is for a cluster; add --cluster auto, or say it in the job file"
        )


def train_there(
    job: JobText,
    address: str,
    wanted: GoOnFrom,
    *,
    json_file: Path | None,
    digest: bool,
    quiet: bool,
    show_logs: bool,
) -> int:
    """Learn to the end of the stream, or to a signal; the exit code. Raises what running() does."""
    from cluster.cli.outcome import show_outcome

    plan = job.plan(source=False)
    with _running(job, address, wanted, quiet=quiet, show_logs=show_logs) as (
        run,
        reporter,
        signals,
    ):
        glance = run.follow(signals.stop, reporter.progress)
        if not run.has_begun:
            reporter.say(f"stopped by {signals.cause}, before it learned anything")
            return signals.exit_code
        failure = None if glance is None else _failure(glance.failure)
        if signals.stop.is_set():
            reporter.say(f"stopped by {signals.cause}: finishing what is under way, and saving it")
        outcome = run.finish(digest=digest)
    show_outcome(_found(plan, outcome), json_file)
    _raise(failure, outcome)
    return signals.exit_code


def serve_there(
    job: JobText, address: str, wanted: GoOnFrom, *, quiet: bool, show_logs: bool
) -> None:
    """Learn and serve until a signal. Raises what running() does."""
    plan = job.plan(source=False)
    with _running(job, address, wanted, quiet=quiet, show_logs=show_logs) as (
        run,
        reporter,
        signals,
    ):
        _say_reach(plan, reporter)
        glance = run.follow(signals.stop, reporter.progress, hold=True)
        if not run.has_begun:
            reporter.say(f"stopped by {signals.cause}, before it learned anything")
            return
        cause = f" by {signals.cause}" if signals.cause else ""
        reporter.say(f"stopped{cause}: finishing the calls under way, and saving")
        outcome = run.finish()
    _raise(None if glance is None else _failure(glance.failure), outcome)


@contextmanager
def _running(
    job: JobText, address: str, wanted: GoOnFrom, *, quiet: bool, show_logs: bool
) -> Iterator[tuple[ClusterRun, Reporter, StopOnSignal]]:
    """The job on its cluster, who tells of it, and who hears signals."""
    from cluster.cli.reporter import reporting
    from cluster.cli.signals import StopOnSignal
    from cluster.fleet.launch import running

    with (
        reporting(job.name, quiet=quiet) as reporter,
        running(
            job,
            address,
            wanted=wanted,
            say=reporter.say,
            step=reporter.step,
            show_logs=show_logs,
        ) as run,
        # Ray sets a handler of its own when it connects.
        StopOnSignal() as signals,
    ):
        yield run, reporter, signals


def _say_reach(plan: Plan, reporter: Reporter) -> None:
    from ps.addresses import is_loopback

    if any(is_loopback(server.host) for server in plan.serve.servers):
        reporter.say(
            "replicas listen on 127.0.0.1, where only their own machines reach them; set "
            "serve.listen: 0.0.0.0:8500 to let others in"
        )


def _found(plan: Plan, outcome: Outcome) -> dict[str, object]:
    from cluster.cli.outcome import outcome as found_of
    from worker.metrics.progressive import ProgressiveMetrics

    metrics = ProgressiveMetrics.from_dict(outcome.metrics, plan.train.metrics)
    return found_of(plan.name, outcome.progress, metrics, outcome.digest)


def _failure(error: Exception | None) -> RunError | None:
    from cluster.errors import RunError

    return None if error is None else RunError(str(error))


def _raise(failure: RunError | None, outcome: Outcome) -> None:
    from cluster.errors import UnsavedError

    if failure is not None:
        raise failure
    if outcome.unsaved is not None:
        raise UnsavedError(outcome.unsaved)
