"""What a coordinator cannot know by itself: what workers' states and the stream's partitions mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.admin.restore_points import PointStore
    from ps.store.commit import Commit, Skips


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """What was learned from: see ps.admin.target.JobStatus."""

    examples: int = 0
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    quarantined: Mapping[str, int] = field(default_factory=dict)


class StreamKnowledge(Protocol):
    """Safe to use from several threads."""

    def status(self, state: bytes | None) -> StreamStatus:
        """What a state of the workers says; None: nothing is known yet."""
        ...

    def left_out(self, store: PointStore, target: Commit, skips: Skips) -> Skips:
        """The ranges left out from a restore point on: those it knows of, and `skips`.

        Raises SpecError where it has learned from a part of them, or there is no such partition.
        """
        ...

    def without(self, skips: Skips, other: Skips) -> Skips:
        """What of these ranges lies in none of the other's."""
        ...
