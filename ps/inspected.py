"""What a shard or a restore point has of one fid or one slot, for people to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class InspectedRow:
    """One fid in one table. Without a row: present False, weights as a pull reads them.

    occurrences: how often admission has counted it of late; None where its slot does not count.
    """

    table: str
    fid: int
    slot: int
    shard: int
    bucket: int
    present: bool
    last_seen_s: int | None
    expires_s: int | None
    weights: Sequence[float]
    state: Sequence[float]
    occurrences: int | None


@dataclass(frozen=True, slots=True)
class InspectedSlot:
    """One slot of one table: how many rows, and the latest seen of them (at most `rows` asked for)."""

    table: str
    slot: int
    settings: str
    rows: int
    oldest_seen_s: int | None
    newest_seen_s: int | None
    examples: Sequence[InspectedRow]
