"""trilith serve: learn from a job's stream and answer Predict calls, in one process."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    serve_there,
    shipped,
)
from cluster.cli.running import go_on_from, planned
from cluster.cli.train import FromEpoch, JobFile, Quiet, Reset, Store  # noqa: TC001  # typer reads them

if TYPE_CHECKING:
    from cluster.local import GoOnFrom
    from cluster.plan import Plan


def serve(
    job_file: JobFile,
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
    """Learn from a job's stream and serve what was learned, until Ctrl-C or SIGTERM.

    The replicas listen where the job file says (serve.listen) and answer once the first block has
    arrived. They go on serving after the end of the stream, and where the source breaks off, which
    ends with exit code 3. Stopping is orderly: calls under way are finished, what was learned is
    saved where the job has a store, then it ends with 0. With --cluster it runs on a Ray cluster.

    \b
    Examples:
      trilith serve examples/movielens-fm.yaml
      trilith predict --target 127.0.0.1:8500 --context user_id=42 --candidates movie_id=1
    """
    numbers = {"shards": shards, "standbys": standbys, "workers": workers, "replicas": replicas}
    if cluster is None:
        refuse_numbers(**numbers, show_logs=show_logs)
    with exit_codes(str(job_file)):
        if cluster is not None:
            from ps.store.resume import GoOnFrom

            serve_there(
                shipped(job_file, numbers, store=store, serve=True),
                cluster,
                GoOnFrom(from_epoch, tuple(reset or ())),
                quiet=quiet,
                show_logs=show_logs,
            )
            typer.echo(f"{job_file}: stopped", err=True)
            return
        plan = planned(job_file, store=store)
        _serve(plan, go_on_from(plan, from_epoch, reset), quiet)


def _serve(plan: Plan, wanted: GoOnFrom, quiet: bool) -> None:
    from cluster.cli.reporter import reporting
    from cluster.cli.running import started
    from cluster.cli.signals import StopOnSignal
    from worker.errors import SourceError

    with (
        StopOnSignal() as signals,
        reporting(plan.name, quiet=quiet) as reporter,
        started(plan, reporter, wanted, serve=True) as run,
    ):
        reporter.say(f"serving {plan.name} on {', '.join(run.addresses)}; Ctrl-C stops")
        try:
            run.run(signals.stop, hold=True)
        except SourceError as error:
            reporter.say(f"{error}; serving what was learned until then")
            run.hold(signals.stop)
            raise
        finally:
            cause = f" by {signals.cause}" if signals.cause else ""
            reporter.say(f"stopped{cause}: finishing the calls under way")
    typer.echo(f"{plan.name}: stopped", err=True)
