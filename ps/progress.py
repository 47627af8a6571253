"""How far a shard has come: everything in its state but parameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ps.block import Cursor
from ps.errors import PositionGapError, SpecError, StaleGenerationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.block import Block
    from ps.stream import Positions, Span

_MICROSECONDS = 1_000_000
# Rows keep the second they were last seen in 32 bits; the clock stops there rather than wrap.
_LAST_SECOND = (1 << 32) - 1


@dataclass(slots=True)
class Progress:
    """Epoch and generation, positions and who moved them, the event clock, counts of pushes.

    follows: where a reader must stand to apply the next block, if not at the epoch before it.
    ingest_us: of the oldest example since the last seal.
    """

    generation: int
    epoch: int = 0
    follows: Cursor | None = None
    event_ts_us: int = 0
    ingest_us: int | None = None
    positions: Positions = field(default_factory=dict)
    owners: dict[str, int] = field(default_factory=dict)
    pushes_applied: int = 0
    pushes_repeated: int = 0

    @property
    def cursor(self) -> Cursor:
        """The last epoch sealed or applied."""
        return Cursor(self.epoch, self.generation)

    def now_s(self, event_ts_us: int) -> int:
        """The event clock once event_ts_us has been seen, in seconds as a row keeps them."""
        return min(max(self.event_ts_us, event_ts_us) // _MICROSECONDS, _LAST_SECOND)

    def is_applied(self, span: Span, generation: int) -> bool:
        """See Shard.is_applied."""
        owner = self.owners.get(span.partition, generation)
        if generation < owner:
            raise StaleGenerationError(span.partition, owner, generation)
        reached = self.positions.get(span.partition)
        if reached is None or span.begin == reached < span.end:
            return False
        if span.end <= reached:
            return True
        raise PositionGapError(span.partition, reached, span.begin, span.end)

    def advance(self, span: Span, generation: int, event_ts_us: int, ingest_us: int | None) -> None:
        """Note that a span has been applied."""
        self.owners[span.partition] = generation
        self.positions[span.partition] = span.end
        self.event_ts_us = max(self.event_ts_us, event_ts_us)
        known = [at for at in (self.ingest_us, ingest_us) if at is not None]
        self.ingest_us = min(known, default=None)
        self.pushes_applied += 1

    def fence(self, owners: Mapping[str, int]) -> None:
        """See Shard.fence."""
        for partition, generation in owners.items():
            self.owners[partition] = max(generation, self.owners.get(partition, generation))

    def begin_epoch(self, epoch: int | None) -> Cursor | None:
        """Number the epoch that is being cut; the cursor it follows, None where its number says so."""
        before = self.cursor
        if epoch is not None and epoch <= before.epoch:
            raise SpecError(f"epoch {epoch} cannot be sealed after epoch {before.epoch}")
        self.epoch = before.epoch + 1 if epoch is None else epoch
        return self.follows or (before if self.epoch > before.epoch + 1 else None)

    def follow(self, block: Block) -> None:
        """Stand where the block's writer stood."""
        self.generation = block.generation
        self.epoch = block.epoch
        self.follows = None
        self.event_ts_us = block.event_ts_us
        self.ingest_us = None
        self.positions = dict(block.positions)
        self.owners = dict(block.owners)
        self.pushes_applied = block.pushes_applied
        self.pushes_repeated = block.pushes_repeated

    def promote(self, generation: int, epoch: int | None, follows: Cursor | None) -> str | None:
        """See Shard.promote; what is wrong with it, or None where it has been done."""
        before = self.cursor
        if generation <= before.generation and before.epoch > 0:
            return (
                f"follows generation {before.generation} and cannot write at {generation}; promote "
                "it to a higher one"
            )
        if epoch is not None and epoch < before.epoch:
            return f"is at epoch {before.epoch}; its numbering cannot go on after {epoch}"
        self.follows = follows or before
        self.generation = generation
        self.epoch = before.epoch if epoch is None else epoch
        return None
