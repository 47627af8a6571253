"""What a shard's process lets others do with its data; the service knows nothing else of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.arrays import U64
    from ps.block import Block, Cursor
    from ps.messages import Pulled, Push, PushReceipt
    from ps.stream import Positions

# What the leader alone does, and what whoever holds the shard may do: a leader that has stepped down
# still hands out its blocks.
Call = Literal["pull", "push", "fence", "positions", "read", "base"]
LEADERS_CALLS: frozenset[Call] = frozenset({"pull", "push", "fence", "positions"})


class ShardData(Protocol):
    """A shard's process as workers and readers see it. Called by any number of threads at once.

    Every call raises errors of ps.errors, which are raised at the other end as well.
    """

    def check(self, shard: int, shards: int, asked: Call, generation: int | None = None) -> None:
        """Raise NotLeadingError unless this process holds that shard, of so many, and leads it where
        the call is one of LEADERS_CALLS: at that very generation, if one is given. So what was sent to
        a leader is never taken by the same process restored since. Comes before every other call.
        """
        ...

    def pull(self, fids: Mapping[str, U64], *, dense: bool) -> Pulled:
        """Rows by table, and the dense variables if asked for. fids may be read-only."""
        ...

    def push(self, push: Push) -> PushReceipt:
        """Apply one batch's gradients once. Its arrays may be read-only."""
        ...

    def fence(self, owners: Mapping[str, int]) -> None:
        """See ShardHandle.fence."""
        ...

    def positions(self) -> Positions:
        """Per partition, the first offset not applied."""
        ...

    def read(self, after: Cursor, wait_s: float) -> list[Block]:
        """Blocks that follow a cursor, in order; waits up to wait_s for the first, none if none came.

        A bounded number: a reader asks again. Returns early when the process ends. Raises
        BlockGapError, ForeignBlockError: start from base().
        """
        ...

    def base(self) -> Block:
        """The whole state as of a sealed epoch, whose arrays nobody changes any more."""
        ...
