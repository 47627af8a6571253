"""What all sections of a job file have in common, and the kinds of values they share.

The modules of sections do without `from __future__ import annotations`: pydantic reads their
annotations when they are made.
"""

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from ps.admin.wording import DURATION_UNITS_S

_SIZE_UNITS: dict[str, int] = {"B": 1} | {
    prefix + end: int(base**power)
    for power, prefix in enumerate("KMGT", start=1)
    for end, base in (("B", 1_000), ("iB", 1_024))
}
_SIZE_PATTERN = r"^\d+(?:\.\d+)? ?(?:[KMGT]i?)?B$"
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?((?:[KMGT]i?)?B)")
_PART = r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)"
_PATTERN = rf"^(?:{_PART})+$"
_DURATION = re.compile(_PATTERN)
_DURATION_PART = re.compile(_PART)


class Section(BaseModel):
    """A part of a job file: fixed once read, and nothing unknown in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def parse_duration(value: object) -> float:
    """Seconds of "250ms", "30s", "5m", "6h", "7d", "2w", "1h30m", or of a plain number.

    Raises ValueError (as pydantic's) for anything else, and for what is below 0.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and _DURATION.fullmatch(value.replace(" ", "")):
        parts = _DURATION_PART.findall(value.replace(" ", ""))
        seconds = sum(float(number) * DURATION_UNITS_S[unit] for number, unit in parts)
    else:
        seconds = -1.0
    if not seconds >= 0:
        raise PydanticCustomError(
            "duration", "it should be a duration such as 250ms, 30s, 5m, 6h, 7d, or seconds"
        )
    return seconds


def parse_size(value: object) -> int:
    """Bytes of "500MB", "20GiB", or of a whole number.

    Raises ValueError (as pydantic's) for anything else, and for what is below 0.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise PydanticCustomError(
            "size", "it should be a size such as 500MB, 20GiB, or a number of bytes"
        )
    return round(float(found[1]) * _SIZE_UNITS[found[2]])


def format_size(size: int) -> str:
    """The other way round, in the largest unit that divides it."""
    units = sorted(_SIZE_UNITS.items(), key=lambda unit: -unit[1])
    for unit, factor in units:
        if size >= factor and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"


# In bytes.
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": _SIZE_PATTERN},
                {"type": "integer", "minimum": 0},
            ],
            "examples": ["500MB", "20GiB"],
        }
    ),
]

# In seconds.
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": _PATTERN}, {"type": "number", "minimum": 0}],
            "examples": ["30s", "5m", "6h", "7d", 90],
        }
    ),
]

# A name of a job, feature or table.
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
