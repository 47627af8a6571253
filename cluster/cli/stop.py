"""trilith stop: end a job that runs on a cluster, in order, from anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.exits import exit_codes


def stop(
    job: Annotated[str, typer.Argument(metavar="JOB", help="The job file, or the job's name.")],
    cluster: Annotated[
        str,
        typer.Option(
            "--cluster",
            metavar="ADDRESS",
            help="The Ray cluster it runs on: auto (this machine's), HOST:PORT, ray://HOST:PORT.",
        ),
    ] = "auto",
) -> None:
    """End a job on a cluster: workers come to rest, what was learned is saved, replicas finish calls.

    Then every process of it is ended, and its room given back. Where its coordinator does not answer,
    the processes are ended all the same, the store keeps its newest restore point, and this ends with
    exit code 4.

    \b
    Examples:
      trilith stop my-job.yaml
      trilith stop my-job --cluster ray://head.example:10001
    """
    with exit_codes(job):
        name = _name_of(job)
        from cluster.fleet.launch import stopping

        with stopping(name, cluster) as finish:
            typer.echo(f"{name}: stopping", err=True)
            outcome = finish()
        if outcome is None:
            typer.echo(f"{name}: ended what was left of it", err=True)
            return
        progress = outcome.progress
        saved = "" if progress.saved_epoch is None else f", saved epoch {progress.saved_epoch:,}"
        typer.echo(f"{name}: stopped after {progress.examples:,} examples{saved}", err=True)
        if outcome.unsaved is not None:
            from cluster.errors import UnsavedError

            raise UnsavedError(outcome.unsaved)


def _name_of(job: str) -> str:
    """The name that a file gives, or the text itself where there is no such file."""
    if not Path(job).is_file():
        if Path(job).suffix in {".yaml", ".yml"}:
            raise typer.BadParameter(
                f"there is no file {job}; give the job file, or the job's name"
            )
        return job
    from cluster.job import load_job

    return load_job(job).name
