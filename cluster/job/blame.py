"""Whose key it was: errors of the parts a plan is built from, traced back to the job file."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from cluster.errors import JobFileError
from model.errors import ModelError
from ps.errors import PsError
from serving.errors import ServingError
from worker.errors import MetricsError, SourceSpecError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.job.document import Document

_SPEC_ERRORS = (PsError, ModelError, ServingError, MetricsError, SourceSpecError)


class Blame:
    """Turns what a part says of its specification into a problem of the file it came from."""

    def __init__(self, document: Document) -> None:
        self._document = document

    @contextmanager
    def on(self, *path: str | int) -> Iterator[None]:
        """Errors of specifications raised within are the fault of what stands at this place."""
        try:
            yield
        except _SPEC_ERRORS as error:
            raise JobFileError([self._document.problem(path, str(error))]) from error

    def refuse(self, path: tuple[str | int, ...], message: str) -> NoReturn:
        """Raise JobFileError for a place; the message says what to change."""
        raise JobFileError([self._document.problem(path, message)])
