"""A worker's connections to the leaders of the shards, one to each, kept as long as they lead."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ps.directory import Leader
    from ps.handle import ShardHandle

    # How to reach a leader, of so many shards.
    Connect = Callable[[Leader, int], ShardHandle]


class Connections:
    """Handles by leader; one thread's own."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._open: dict[tuple[Leader, int], ShardHandle] = {}

    def to(self, leaders: Sequence[Leader]) -> list[ShardHandle]:
        """A handle for each, by shard number; those to whoever leads no more are closed first."""
        wanted = [(leader, len(leaders)) for leader in leaders]
        for gone in [each for each in self._open if each not in wanted]:
            self._open.pop(gone).close()
        for each in wanted:
            if each not in self._open:
                self._open[each] = self._connect(*each)
        return [self._open[each] for each in wanted]

    def close(self) -> None:
        """End them all; calls under way fail."""
        self.to(())
