"""What every benchmark shares: its arguments, its JSON file, and how it takes times."""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

P = ParamSpec("P")

if TYPE_CHECKING:
    from collections.abc import Callable

    Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Options:
    """quick: a smaller run, to see that it works. json: where to write the figures."""

    quick: bool
    json: Path | None


def parse_options(description: str) -> Options:
    """--quick and --json FILE from the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a smaller run; figures mean little")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args()
    return Options(quick=arguments.quick, json=arguments.json)


def say(text: str = "") -> None:
    """A line for the reader, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def finish(options: Options, figures: Figures) -> None:
    """Print the figures by name, and write them where asked to."""
    say()
    for name, value in figures.items():
        say(f"{name:32} {value:,.4g}" if abs(value) < 1e6 else f"{name:32} {value:,.0f}")
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def seconds(call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> float:
    """How long call(*args, **kwargs) takes."""
    begin = time.perf_counter()
    call(*args, **kwargs)
    return time.perf_counter() - begin


def median(values: list[float]) -> float:
    """The middle one: a noisy neighbour spoils single measurements, seldom half of them."""
    return statistics.median(values)


def rss_bytes() -> int:
    """Resident memory of this process, without what the allocator keeps of freed arrays."""
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096
