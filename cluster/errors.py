"""The tree of errors of the cluster layer: job files and runs; each says what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ps.errors import PortableError

if TYPE_CHECKING:
    from collections.abc import Sequence


class ClusterError(PortableError):
    """Anything the cluster layer refuses or fails to do."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a job file. key: its path, dotted; line: counted from 1."""

    file: str
    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        """FILE:LINE: KEY: MESSAGE, as compilers write it."""
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"


class JobFileError(ClusterError):
    """A job file that cannot be read, or cannot work; one line for each problem found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class RunError(ClusterError):
    """A run that did not get to its end; the message says what to look at."""


class UnsavedError(RunError):
    """A run whose store does not have all that was learned; the stream, where it still can, has it."""
