"""trilith serve: learn from a job's stream and answer Predict calls, in one process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from cluster.cli.exits import exit_codes
from cluster.cli.train import JobFile, Quiet  # noqa: TC001  # typer reads them

if TYPE_CHECKING:
    from pathlib import Path


def serve(job_file: JobFile, quiet: Quiet = False) -> None:
    """Learn from a job's stream and serve what was learned, until Ctrl-C or SIGTERM.

    The replicas listen where the job file says (serve.listen) and answer once the first block has
    arrived. They go on serving after the end of the stream, and where the source breaks off, which
    ends with exit code 3. Stopping is orderly: calls under way are finished, then it ends with 0.

    \b
    Examples:
      trilith serve examples/movielens-fm.yaml
      trilith predict --target 127.0.0.1:8500 --context user_id=42 --candidates movie_id=1
    """
    with exit_codes(str(job_file)):
        _serve(job_file, quiet)


def _serve(job_file: Path, quiet: bool) -> None:
    from cluster.cli.reporter import reporting
    from cluster.cli.running import compile_kernels, planned
    from cluster.cli.signals import StopOnSignal
    from cluster.local import LocalRun
    from ps.clock import SystemClock
    from worker.errors import SourceError

    plan = planned(job_file)
    with StopOnSignal() as signals, reporting(plan.name, quiet=quiet) as reporter:
        compile_kernels(plan, reporter)
        with LocalRun(plan, clock=SystemClock(), serve=True, on_progress=reporter.progress) as run:
            run.start_servers()
            reporter.say(f"serving {plan.name} on {', '.join(run.addresses)}; Ctrl-C stops")
            try:
                run.run(signals.stop, hold=True)
            except SourceError as error:
                reporter.say(f"{error}; serving what was learned until then")
                signals.stop.wait()
                raise
            finally:
                reporter.say("stopping: finishing the calls under way")
    typer.echo(f"{plan.name}: stopped", err=True)
