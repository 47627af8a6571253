"""The shard map as everybody sees it: which shard writes where, at which generation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Leader:
    """The one process that a shard learns in. address: host:port of its data service."""

    shard: int
    address: str
    generation: int


@dataclass(frozen=True, slots=True)
class Directory:
    """The leaders by shard number, None while one is being replaced; buckets are spread evenly.

    version: (the coordinator's term, a count), which only ever rises; of two directories the one
    with the higher version holds.
    """

    version: tuple[int, int]
    leaders: tuple[Leader | None, ...]

    @property
    def shards(self) -> int:
        """How many shards the model is spread over."""
        return len(self.leaders)

    @property
    def is_whole(self) -> bool:
        """Whether every shard has a leader."""
        return all(leader is not None for leader in self.leaders)
