"""The commands of trilith, put together."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from cluster.cli.demo import demo
from cluster.cli.exits import EXIT_CODES
from cluster.cli.job import job_app
from cluster.cli.predict import predict
from cluster.cli.serve import serve
from cluster.cli.stop import stop
from cluster.cli.train import train
from cluster.switching import SWITCH_INTERVAL_S

app = typer.Typer(
    name="trilith",
    help="A model that learns from a live stream and serves what it learned a second later.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo)
app.command()(train)
app.command()(serve)
app.command()(stop)
app.command()(predict)
app.add_typer(job_app, name="job")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"trilith {version('trilith')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Say which version."),
    ] = False,
) -> None:
    """A model that learns from a live stream and serves what it learned a second later."""
    del version


# Layers here are small matrices, and training, replicas and servers already fill the cores: BLAS
# threads that wait for each other made the demo 13 times slower on two cores. Read when numpy loads.
_BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


def main() -> None:
    """The console script."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    for name in _BLAS_THREADS:
        os.environ.setdefault(name, "1")
    app()
