"""trilith train: learn from a job's stream to its end, and say how good the predictions were."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.cli.exits import exit_codes
from cluster.cli.on_cluster import (
    Address,
    Replicas,
    Shards,
    ShowLogs,
    Standbys,
    Workers,
    refuse_numbers,
    shipped,
    train_there,
)
from cluster.cli.running import go_on_from, planned

if TYPE_CHECKING:
    import threading

    from cluster.errors import UnsavedError
    from cluster.local import GoOnFrom, LocalRun
    from cluster.plan import Plan
    from cluster.progress import RunProgress
    from worker.errors import SourceError

JobFile = Annotated[
    Path, typer.Argument(metavar="JOB.yaml", help="The job file.", show_default=False)
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Plain log lines, no live panel.")]
Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="Keep what is learned there (a folder, s3://…), instead of where the job file says.",
        show_default=False,
    ),
]
FromEpoch = Annotated[
    int | None,
    typer.Option(
        "--from",
        min=1,
        metavar="EPOCH",
        help="Go on from this restore point instead of the newest.",
        show_default=False,
    ),
]
Reset = Annotated[
    list[str] | None,
    typer.Option(
        "--reset",
        metavar="NAME",
        help="Let a table, a slot (TABLE.SLOT) or a dense variable begin afresh; may be repeated.",
        show_default=False,
    ),
]


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
    store: Store = None,
    from_epoch: FromEpoch = None,
    reset: Reset = None,
    cluster: Address = None,
    shards: Shards = None,
    standbys: Standbys = None,
    workers: Workers = None,
    replicas: Replicas = None,
    show_logs: ShowLogs = False,
    quiet: Quiet = False,
) -> None:
    """Learn from a job's stream, each example predicted before it is learned from.

    Prints progressive AUC, log loss, normalized entropy and calibration. The same job on the same
    stream gives the same digest, bit for bit. With a store, it goes on where it stopped or was killed,
    to the same end, and ps-admin operates it meanwhile.

    With --cluster it runs on a Ray cluster, as the job file's cluster section says. Ctrl-C stops it in
    order; where this command is killed the job goes on, and the same command attaches to it again.

    \b
    Examples:
      trilith train examples/movielens-fm.yaml
      trilith train examples/criteo-deepfm.yaml --json runs/criteo.json
      trilith train examples/synthetic.yaml --max-examples 1000000 --digest --quiet
      trilith train my-job.yaml --store runs/my-job/store --from 120
      trilith train my-job.yaml --cluster auto --shards 4 --standbys 1 --workers 8
    """
    numbers = {"shards": shards, "standbys": standbys, "workers": workers, "replicas": replicas}
    if cluster is None:
        refuse_numbers(**numbers, show_logs=show_logs)
    with exit_codes(str(job_file)):
        if cluster is not None:
            from ps.store.resume import GoOnFrom

            code = train_there(
                shipped(job_file, numbers, store=store, max_examples=max_examples),
                cluster,
                GoOnFrom(from_epoch, tuple(reset or ())),
                json_file=json_file,
                digest=digest,
                quiet=quiet,
                show_logs=show_logs,
            )
            raise typer.Exit(code)
        plan = planned(job_file, max_examples=max_examples, store=store)
        wanted = go_on_from(plan, from_epoch, reset)
        code = _train(plan, wanted, json_file, digest, quiet)
    raise typer.Exit(code)


def _train(plan: Plan, wanted: GoOnFrom, json_file: Path | None, digest: bool, quiet: bool) -> int:
    from cluster.cli.outcome import outcome, show_outcome
    from cluster.cli.reporter import reporting
    from cluster.cli.running import started
    from cluster.cli.signals import StopOnSignal

    with StopOnSignal() as signals:
        with (
            reporting(plan.name, quiet=quiet) as reporter,
            started(plan, reporter, wanted, serve=False) as run,
        ):
            progress, failure = _learn(run, signals.stop)
            if progress.stopped:
                reporter.say(f"stopped by {signals.cause}")
            found = outcome(plan.name, progress, run.metrics, run.digest() if digest else None)
        show_outcome(found, json_file)
        if failure is not None:
            raise failure
        return signals.exit_code


def _learn(
    run: LocalRun, stop: threading.Event
) -> tuple[RunProgress, SourceError | UnsavedError | None]:
    """Run; where the source breaks off or the store fails, what was learned is still told."""
    from cluster.errors import UnsavedError
    from worker.errors import SourceError

    try:
        return run.run(stop), None
    except (SourceError, UnsavedError) as error:
        return run.progress(), error
