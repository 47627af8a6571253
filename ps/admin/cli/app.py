"""The commands of ps-admin, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from ps.admin.cli.change import expire, failover, pause, reshard, restore, resume, rollback
from ps.admin.cli.comparing import diff
from ps.admin.cli.exits import EXIT_CODES
from ps.admin.cli.inspecting import inspect_app
from ps.admin.cli.look import status, tables, top
from ps.admin.cli.snapshot import list_, prune, snapshot_app, verify

_WHAT = "Operate a running job, or a store where nothing runs."

app = typer.Typer(
    name="ps-admin",
    help=_WHAT,
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_LOOK, _CHANGE, _STORE = "Look", "Change a running job", "Restore points"
for command in (status, top, tables):
    app.command(rich_help_panel=_LOOK)(command)
app.add_typer(inspect_app, name="inspect", rich_help_panel=_LOOK)
for command in (rollback, restore, reshard, failover, pause, resume, expire):
    app.command(rich_help_panel=_CHANGE)(command)
app.add_typer(snapshot_app, name="snapshot", rich_help_panel=_STORE)
app.command(rich_help_panel=_STORE)(diff)
# Shorter names for what one does to a store.
app.command("list", rich_help_panel=_STORE)(list_)
app.command("verify", rich_help_panel=_STORE)(verify)
app.command("prune", rich_help_panel=_STORE)(prune)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"ps-admin {version('trilith')}")
        raise typer.Exit


@app.callback(help=_WHAT)
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Say which version."),
    ] = False,
) -> None:
    """Operate a running job, or a store where nothing runs."""
    del version


def main() -> None:
    """The console script."""
    app()
