"""The options every command has: which job or store, how to be let in, and JSON or not."""

from __future__ import annotations

import inspect
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from ps.admin.cli.exits import exit_codes
from ps.admin.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

_PANEL = "Where, and how to answer"

_COMMON: dict[str, Any] = {
    "target": Annotated[
        str,
        typer.Option(
            "--target",
            "-t",
            envvar="TRILITH_TARGET",
            metavar="HOST:PORT|STORE",
            help="A running job, or the URL or path of a store. Of a store that a job writes to, "
            "the job is asked.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ],
    "token": Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="TRILITH_ADMIN_TOKEN",
            help="The job's token. Others on this machine can see a command line; prefer the "
            "variable or a file.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ],
    "token_file": Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            envvar="TRILITH_ADMIN_TOKEN_FILE",
            metavar="FILE",
            help="A file that holds it.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ],
    "tls_ca": Annotated[
        Path | None,
        typer.Option(
            "--tls-ca",
            envvar="TRILITH_ADMIN_TLS_CA",
            metavar="FILE.pem",
            help="Who signed the job's certificate; the usual authorities otherwise. Plain text is "
            "spoken on loopback only.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ],
    "timeout_s": Annotated[
        float | None,
        typer.Option(
            "--timeout",
            min=0.001,
            metavar="SECONDS",
            help="How long to wait for an answer. Otherwise: of a job, 20 s to look and 600 s to "
            "change something; of a store, 60 s and a second for every MiB.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ],
    "as_json": Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object.", rich_help_panel=_PANEL),
    ],
}
_ABSENT = {"target": "", "as_json": False}

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it would do, and do nothing.")]
TableName = Annotated[
    str | None, typer.Option("--table", help="In this table only.", show_default=False)
]


def on_target(function: Callable[..., None]) -> Callable[..., None]:
    """Make a command of a function of a session: with the options above, and exit codes for errors."""
    hints = get_type_hints(function, include_extras=True)
    own = list(inspect.signature(function).parameters.values())[1:]
    parameters = [parameter.replace(annotation=hints[parameter.name]) for parameter in own]
    parameters += [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=_ABSENT.get(name), annotation=annotation
        )
        for name, annotation in _COMMON.items()
    ]

    @wraps(function)
    def command(**given: Any) -> None:
        common: dict[str, Any] = {name: given.pop(name) for name in _COMMON}
        with exit_codes(as_json=common["as_json"]), Session(**common) as session:
            function(session, **given)

    # What typer reads, in place of what wraps says of the function.
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    vars(command)["__signature__"] = inspect.Signature(parameters)
    del vars(command)["__wrapped__"]
    return command
