"""trilith train: learn from a job's stream to its end, and say how good the predictions were."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.cli.exits import exit_codes

if TYPE_CHECKING:
    import threading

    from cluster.local import LocalRun
    from cluster.progress import RunProgress
    from worker.errors import SourceError

JobFile = Annotated[
    Path, typer.Argument(metavar="JOB.yaml", help="The job file.", show_default=False)
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Plain log lines, no live panel.")]


def train(
    job_file: JobFile,
    max_examples: Annotated[
        int | None,
        typer.Option(
            min=1, help="Stop after this many positions of the stream.", show_default=False
        ),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write all figures there.", show_default=False),
    ] = None,
    digest: Annotated[bool, typer.Option("--digest", help="Hash the final state.")] = False,
    quiet: Quiet = False,
) -> None:
    """Learn from a job's stream, each example predicted before it is learned from.

    Prints progressive AUC, log loss, normalized entropy and calibration. The same job on the same
    stream gives the same digest, bit for bit.

    \b
    Examples:
      trilith train examples/movielens-fm.yaml
      trilith train examples/criteo-deepfm.yaml --json runs/criteo.json
      trilith train examples/synthetic.yaml --max-examples 1000000 --digest --quiet
    """
    with exit_codes(str(job_file)):
        code = _train(job_file, max_examples, json_file, digest, quiet)
    raise typer.Exit(code)


def _train(
    job_file: Path, max_examples: int | None, json_file: Path | None, digest: bool, quiet: bool
) -> int:
    from rich.console import Console

    from cluster.cli.outcome import group_tables, outcome, outcome_table, write_json
    from cluster.cli.reporter import reporting
    from cluster.cli.running import compile_kernels, planned
    from cluster.cli.signals import StopOnSignal
    from cluster.local import LocalRun
    from ps.clock import SystemClock

    plan = planned(job_file, max_examples)
    with StopOnSignal() as signals:
        with reporting(plan.name, quiet=quiet) as reporter:
            compile_kernels(plan, reporter)
            with LocalRun(
                plan, clock=SystemClock(), serve=False, on_progress=reporter.progress
            ) as run:
                progress, failure = _learn(run, signals.stop)
                found = outcome(plan.name, progress, run.metrics, run.digest() if digest else None)
        if json_file is not None:
            write_json(json_file, found)
        console = Console()
        for table in (outcome_table(found), *group_tables(found)):
            console.print(table)
        if failure is not None:
            raise failure
        return signals.exit_code


def _learn(run: LocalRun, stop: threading.Event) -> tuple[RunProgress, SourceError | None]:
    """Run; where the source breaks off, what was learned until then still counts for something."""
    from worker.errors import SourceError

    try:
        return run.run(stop), None
    except SourceError as error:
        return run.progress(), error
