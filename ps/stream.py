"""Stream positions: which part of which stream partition something came from."""

from __future__ import annotations

from dataclasses import dataclass

# partition -> the first offset that has not been applied yet.
Positions = dict[str, int]


@dataclass(frozen=True, slots=True)
class Span:
    """The offsets [begin, end) of one stream partition."""

    partition: str
    begin: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.begin <= self.end:
            raise ValueError(f"a span needs 0 <= begin <= end, not [{self.begin}, {self.end})")
