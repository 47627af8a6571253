"""Other shards in the place of those a run learns into, under the next generation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cluster.local.durability import Durability
    from cluster.local.epochs import Epochs
    from cluster.local.learning import Learning
    from cluster.local.loop import Loop
    from cluster.local.publishing import Publishing
    from cluster.local.status import StatusBoard
    from cluster.plan import Plan
    from ps.block import Cursor
    from ps.clock import Clock
    from ps.shard import Shard


class Succession:
    """The parts of a run that are concerned when its shards are replaced: the training thread's own.

    durability: None where the job has no store. tell: has the status looked at anew.
    """

    def __init__(
        self,
        plan: Plan,
        learning: Learning,
        epochs: Epochs,
        publishing: Publishing,
        loop: Loop,
        board: StatusBoard,
        clock: Clock,
        durability: Durability | None,
        tell: Callable[[], None],
    ) -> None:
        self.plan = plan
        self.learning = learning
        self.epochs = epochs
        self.publishing = publishing
        self.loop = loop
        self.board = board
        self.clock = clock
        self.durability = durability
        self.tell = tell

    def next_generation(self) -> int:
        """A generation that nobody has written at, and nobody else will.

        With a store it is claimed there. Raises FencedError, StoreUnavailableError.
        """
        if self.durability is not None:
            return self.durability.next_generation()
        return 1 + max(shard.cursor.generation for shard in self.learning.shards)

    def install(
        self,
        shards: Sequence[Shard],
        generation: int,
        follows: Sequence[Cursor | None] | None = None,
    ) -> None:
        """Go on with these shards, and read the stream again from where they stand.

        follows: where readers of each shard's first block must stand; None: where it stands itself.
        Epochs are numbered on from the newest there was.
        """
        newest = max(self.epochs.number, *(shard.cursor.epoch for shard in shards))
        for number, shard in enumerate(shards):
            after = None if follows is None else follows[number]
            shard.promote(generation, epoch=newest, follows=after)
        self.learning.replace(shards, generation)
        self.loop.restart()
