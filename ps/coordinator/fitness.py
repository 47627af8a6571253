"""Whether a process runs the job's code: one that does not is told of once, and not used."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ps.errors import CodeMismatchError

if TYPE_CHECKING:
    from collections.abc import Callable


class Fitness:
    """fingerprint: what every process must run. Safe to use from several threads."""

    def __init__(self, fingerprint: str, say: Callable[[str], None]) -> None:
        self._fingerprint = fingerprint
        self._say = say
        self._changing = threading.Lock()
        self._refused: dict[str, tuple[str, CodeMismatchError]] = {}

    def admits(self, where: str, process: str, node: str, fingerprint: str) -> bool:
        """Whether a process may be used. where: its seat, by which it is remembered."""
        if fingerprint == self._fingerprint:
            with self._changing:
                self._refused.pop(where, None)
            return True
        error = CodeMismatchError(where, node, self._fingerprint, fingerprint)
        with self._changing:
            known = self._refused.get(where)
            self._refused[where] = (process, error)
        if known is None or known[0] != process:
            self._say(str(error))
        return False

    def refusal(self, where: str) -> CodeMismatchError | None:
        """Why the process of a seat is not used; None: it is."""
        found = self._refused.get(where)
        return None if found is None else found[1]
