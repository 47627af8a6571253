"""What a trainer, an admin or a test may ask of a shard, wherever it lives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.arrays import F32, U64
    from ps.block import Block
    from ps.messages import Push, PushReceipt, ShardStats
    from ps.stream import Positions


class ShardHandle(Protocol):
    """A shard in this process, or a stand-in that carries the call to one elsewhere.

    Every call takes effect once or raises an error of ps.errors.
    """

    def pull(self, fids: Mapping[str, U64]) -> dict[str, F32]:
        """Rows by table: fids uint64[n] -> float32[n, width], owned by the caller. No side effect."""
        ...

    def pull_dense(self) -> dict[str, F32]:
        """The dense variables this shard holds, by name; copies owned by the caller."""
        ...

    def push(self, push: Push) -> PushReceipt:
        """Apply one batch's gradients once."""
        ...

    def positions(self) -> Positions:
        """Per partition, the first offset this shard has not applied."""
        ...

    def seal(self, sealed_us: int) -> Block:
        """End the current epoch and return its block."""
        ...

    def export(self, sealed_us: int) -> Block:
        """The whole state as one base block: where a reader starts, or starts over."""
        ...

    def stats(self) -> ShardStats:
        """Counters and sizes."""
        ...
