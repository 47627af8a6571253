"""Exit codes, and which error ends with which."""

from __future__ import annotations

import json
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING

import typer

from ps.errors import PsError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Exit(IntEnum):
    """What the command tells the shell."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOTHING_RUNS = 3
    REFUSED = 4
    DAMAGED = 5
    INTERRUPTED = 130


EXIT_CODES = (
    "Exit codes: 0 done; 1 failed; 2 wrong usage, or something that cannot be; 3 nothing runs there, "
    "or it cannot be reached; 4 refused: not confirmed, a wrong token, or a store that another "
    "process writes to; 5 a file of the store is damaged; 130 interrupted by Ctrl-C. With --json an "
    'error is a JSON object as well: {"error": its class, "message": ..., "exit_code": ...}; the keys '
    "of answers are the fields of ps.admin.target and ps.admin.reports."
)


class NothingRunsError(PsError):
    """A command for a running job, where none runs."""


class NotConfirmedError(PsError):
    """What was asked for changes or deletes something, and nobody said that it may. Nothing was done."""


class DamageFoundError(PsError):
    """A verification found files that are not whole; all of it has been said already."""


@contextmanager
def exit_codes(*, as_json: bool) -> Iterator[None]:
    """End the command with the right code for an error of ours.

    Its message goes to standard error and, with as_json, into an object on standard output. Other
    exceptions are defects and go on as they are, which ends with 1 and a traceback.
    """
    try:
        yield
    except DamageFoundError as error:
        raise typer.Exit(Exit.DAMAGED) from error
    except PsError as error:
        code = code_of(error)
        typer.echo(f"ps-admin: {error}", err=True)
        if as_json:
            kind = type(error).__name__
            typer.echo(json.dumps({"error": kind, "message": str(error), "exit_code": int(code)}))
        raise typer.Exit(code) from error
    except KeyboardInterrupt:
        typer.echo("interrupted; what a job had begun goes on there: see ps-admin status", err=True)
        raise typer.Exit(Exit.INTERRUPTED) from None


def code_of(error: PsError) -> Exit:
    """The exit code of an error."""
    from ps.admin.errors import AdminRefusedError, AdminUnreachableError
    from ps.errors import (
        CorruptBlockError,
        CorruptFileError,
        SpecError,
        StoreInUseError,
        UnknownTableError,
    )

    codes: tuple[tuple[tuple[type[PsError], ...], Exit], ...] = (
        ((NothingRunsError, AdminUnreachableError), Exit.NOTHING_RUNS),
        ((NotConfirmedError, AdminRefusedError, StoreInUseError), Exit.REFUSED),
        ((CorruptFileError, CorruptBlockError), Exit.DAMAGED),
        ((SpecError, UnknownTableError), Exit.USAGE),
    )
    return next((code for kinds, code in codes if isinstance(error, kinds)), Exit.FAILED)
