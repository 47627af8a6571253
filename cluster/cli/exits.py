"""Exit codes, and which error ends with which."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)


class Exit(IntEnum):
    """What the command tells the shell. 128 + n: ended by signal n, as shells have it."""

    OK = 0
    FAILED = 1
    USAGE = 2
    SOURCE = 3
    UNSAVED = 4
    INTERRUPTED = 130


EXIT_CODES = (
    "Exit codes: 0 done; 1 the run failed; 2 wrong usage or a bad job file; 3 the source could not "
    "be read to its end; 4 what was learned is not all in the store, or the store cannot be used; "
    "130 (143) interrupted by Ctrl-C (SIGTERM)."
)


@contextmanager
def exit_codes(subject: str) -> Iterator[None]:
    """End the command with the right code for an error of ours, its message on standard error.

    subject: what the command works on, to begin the message with. Other exceptions are defects and
    go on as they are, which ends with 1 and a traceback.
    """
    from cluster.errors import ClusterError, JobFileError, UnsavedError
    from model.errors import FeatureError, ModelError
    from ps.errors import IncompatibleModelError, NoStoreError, PsError, SpecError, StoreError
    from serving.errors import RequestRefusedError, ServingError
    from worker.errors import SourceError, SourceSpecError, WorkerError

    try:
        yield
    except JobFileError as error:
        _fail(str(error), Exit.USAGE, error)
    except (SourceError, SourceSpecError) as error:
        _fail(f"{subject}: {error}", Exit.SOURCE, error)
    except (
        FeatureError,
        RequestRefusedError,
        IncompatibleModelError,
        NoStoreError,
        SpecError,
    ) as error:
        _fail(f"{subject}: {error}", Exit.USAGE, error)
    except (UnsavedError, StoreError) as error:
        _fail(f"{subject}: {error}", Exit.UNSAVED, error)
    except (ClusterError, PsError, ModelError, WorkerError, ServingError) as error:
        _fail(f"{subject}: {error}", Exit.FAILED, error)


def _fail(message: str, code: Exit, error: Exception) -> None:
    typer.echo(message, err=True)
    raise typer.Exit(code) from error
