"""Where a person reads: a console, and figures as people read them."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.store.commit import Skips

UNKNOWN = "–"

# A pipe has no width; tables wrapped to 80 columns can be read by nobody.
_PIPE_COLUMNS = 160


def console() -> Console:
    """Standard output. What it is given is shown as it is: names of the stream are no markup."""
    found = Console(highlight=False, markup=False, emoji=False)
    if not found.is_terminal and "COLUMNS" not in os.environ:
        found.width = _PIPE_COLUMNS
    return found


def number(value: float | None, digits: int = 0) -> str:
    """A number, or a dash where there is none."""
    return UNKNOWN if value is None else f"{value:,.{digits}f}"


def count(n: int, what: str) -> str:
    """So many of what can be counted: 1 file, 2 files."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def fid(value: int) -> str:
    """A fid as slot:identity."""
    return f"{value >> 48}:{value & ((1 << 48) - 1)}"


def seconds(value: float | None) -> str:
    """A short span of time."""
    if value is None:
        return UNKNOWN
    return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.2f} s"


def span(value: float) -> str:
    """How long something has lasted: 3.4 s, 2 min 05 s, 1 h 03 min, 4 d 02 h."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24:02d} h"


def instant(ts_us: int | None) -> str:
    """A time, UTC, to the second."""
    if ts_us is None or ts_us <= 0:
        return UNKNOWN
    return datetime.fromtimestamp(ts_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")


def size(n_bytes: float) -> str:
    """An amount of memory."""
    for unit in ("B", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:,.0f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:,.1f} GiB"


def positions(found: Mapping[str, int], most: int | None = None) -> str:
    """Offsets by partition, on one line; of the first so many."""
    shown = list(found.items())[:most]
    listed = ", ".join(f"{partition} at {offset:,}" for partition, offset in shown) or UNKNOWN
    left = len(found) - len(shown)
    return f"{listed} and {left:,} more" if left else listed


def skipped(skips: Skips) -> str:
    """Ranges as --skip takes them."""
    return ", ".join(
        f"{partition}:{begin}-{end}" for partition, ranges in skips.items() for begin, end in ranges
    )
