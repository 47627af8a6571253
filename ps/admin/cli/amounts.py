"""Sizes and spans of time as options take them: written as in a job file."""

from __future__ import annotations

import re

import typer

_UNIT_S = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)(?:([KMGT]?)(i?)B)?", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)", re.ASCII)
_SECONDS = re.compile(r"\d+(?:\.\d+)?", re.ASCII)


def size_of(text: str) -> int:
    """Bytes of 20GiB, 500MB, or a number of bytes. Raises typer.BadParameter."""
    found = _SIZE.fullmatch(text.replace(" ", ""))
    if found is None or (found[3] and not found[2]):
        raise typer.BadParameter(f"{text!r} is no size; for instance 20GiB, 500MB, or bytes")
    unit = float(1_024 if found[3] else 1_000) ** _POWERS[found[2] or ""]
    return round(float(found[1]) * unit)


def seconds_of(text: str) -> float:
    """Seconds of 30s, 5m, 1h30m, 7d, or a number of seconds. Raises typer.BadParameter."""
    plain = text.replace(" ", "")
    if _SECONDS.fullmatch(plain):
        return float(plain)
    parts = _PART.findall(plain)
    if not parts or "".join(number + unit for number, unit in parts) != plain:
        raise typer.BadParameter(f"{text!r} is no time; for instance 30s, 1h, 7d, or seconds")
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts)
