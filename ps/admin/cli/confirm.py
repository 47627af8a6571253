"""Asking before anything is changed that cannot simply be changed back."""

from __future__ import annotations

import sys

import typer

from ps.admin.cli.exits import NotConfirmedError


def must_ask(*, yes: bool) -> bool:
    """Whether a person is to be asked. Raises NotConfirmedError where there is none to ask."""
    if yes:
        return False
    if not is_attended():
        raise NotConfirmedError(
            "nothing was done, since nobody is there to confirm it; --dry-run says what it would do, "
            "--yes does it"
        )
    return True


def is_attended() -> bool:
    """Whether a person may be there to ask."""
    return sys.stdin.isatty()


def ask(question: str) -> None:
    """Raise NotConfirmedError unless the person at the terminal says yes."""
    try:
        said = typer.confirm(question, err=True)
    except typer.Abort:
        said = False
    if not said:
        raise NotConfirmedError("nothing was done")
