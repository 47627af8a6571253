"""Ranges of the stream, as --skip takes them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ps.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ps.store.commit import Skips

# The partition may hold colons and dashes itself: it is all before the last colon.
_SKIP = re.compile(r"(?P<partition>.+):(?P<begin>\d+)-(?P<end>\d+)")


def skips_of(texts: Sequence[str]) -> Skips:
    """PARTITION:BEGIN-END, any number of them, put in order and joined where they overlap.

    Raises SpecError for what is no such thing.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    for text in texts:
        match = _SKIP.fullmatch(text)
        if match is None:
            raise SpecError(
                f"--skip {text!r} is not PARTITION:BEGIN-END; for instance clicks/0:7000-9000"
            )
        begin, end = int(match["begin"]), int(match["end"])
        if begin >= end:
            raise SpecError(f"--skip {text!r} leaves nothing out: it must end after it begins")
        found.setdefault(match["partition"], []).append((begin, end))
    return {partition: _joined(ranges) for partition, ranges in found.items()}


def _joined(ranges: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(ranges):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return tuple(joined)
