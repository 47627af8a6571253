"""The numbered steps of protocols, found by their marks in the code, and dying between two of them."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

ROOT = Path(__file__).resolve().parents[2]
_MARK = re.compile(r"  # (\d)$")


@dataclass(frozen=True, slots=True)
class Mark:
    """A step: `file`, relative to the repository, says `# number` at the end of that line."""

    file: str
    line: int
    number: int

    def __str__(self) -> str:
        return f"{Path(self.file).stem}.{self.number}"


def marks_in(*files: str) -> list[Mark]:
    """Every step of the protocols in these files, in the order of the code."""
    return [
        Mark(file, at, int(found[1]))
        for file in files
        for at, text in enumerate((ROOT / file).read_text().splitlines(), start=1)
        if (found := _MARK.search(text))
    ]


def die_before(mark: Mark, occurrence: int) -> None:
    """From now on, kill this process with -9 when it comes to a step for the n-th time, in any
    thread, before the step is begun.
    """
    file = str(ROOT / mark.file)
    left = occurrence

    def in_function(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if event == "line" and frame.f_lineno == mark.line:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return in_function

    def at_call(frame: FrameType, _: str, __: Any) -> Any:
        code = frame.f_code
        if code.co_filename != file:
            return None
        has_mark = any(line == mark.line for _, _, line in code.co_lines())
        return in_function if has_mark else None

    threading.settrace(at_call)
    sys.settrace(at_call)
