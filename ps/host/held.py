"""The shard that a host holds, for many threads: calls take turns, epochs are gathered between them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from ps.admin.target import ShardStatus
from ps.blocklog import BlockLog
from ps.errors import ForeignBlockError, NotLeadingError, SpecError
from ps.host.turns import Turns
from ps.host.unsaved import Sealed, UnsavedBlocks
from ps.messages import Pulled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ps.arrays import U64
    from ps.block import Block, Cursor
    from ps.messages import Push, PushReceipt
    from ps.shard import Shard
    from ps.stream import Positions

T = TypeVar("T")

# Rows copied out in one turn: a few milliseconds.
_GATHER_ROWS = 32_768
_ALL_ROWS = 1 << 62
# Whoever asks how the shard stands while a long turn is under way is told how it stood before.
_GLANCE_S = 0.02


@dataclass(frozen=True, slots=True)
class Glance:
    """How the shard stood a moment ago."""

    cursor: Cursor
    positions: Positions
    status: ShardStatus


@dataclass(frozen=True, slots=True)
class HostLimits:
    """How much a host keeps of what was sealed: for readers that are behind, and for the store."""

    log_bytes: int = 256 << 20
    log_blocks: int = 600
    unsaved_bytes: int = 256 << 20
    unsaved_blocks: int = 64


@dataclass(slots=True)
class _Rule:
    """Who learns here, and the epoch under way. has_led: what it learned since its last block is in no
    other copy. cut_rows: alive when the epoch was cut; gathered: its block, not handed on yet.
    """

    leading: bool = False
    has_led: bool = False
    cut_rows: dict[str, int] = field(default_factory=dict)
    gathered: Block | None = None


class HeldShard:
    """One shard of so many, its block log, and its unsaved blocks. Safe to use from many threads.

    where: for messages. The shard is this object's own from here on.
    """

    def __init__(self, where: str, shard: Shard, shards: int, limits: HostLimits) -> None:
        self.spec = shard.spec
        self.shards = shards
        self.log = BlockLog(limits.log_bytes, limits.log_blocks)
        begin = Sealed(shard.standing(), _rows(shard))
        self.unsaved = UnsavedBlocks(begin, limits.unsaved_bytes, limits.unsaved_blocks)
        self.saving = threading.Lock()
        self._where = where
        self._shard = shard
        self._turns = Turns()
        self._sealing = threading.Lock()
        self._rule = _Rule()
        # Where a reader may wait for the first block.
        self._before_log = {begin.block.cursor}
        self._glance = _glance(shard)

    @property
    def generation(self) -> int:
        """At which it leads, or the last that it followed."""
        return self._shard.cursor.generation

    @property
    def is_leading(self) -> bool:
        """Whether it learns here."""
        return self._rule.leading

    @property
    def has_led(self) -> bool:
        """Whether it ever learned here, so that it may have what no block has."""
        return self._rule.has_led

    @property
    def number(self) -> int:
        """Which shard it is."""
        return self.spec.shard

    def glance(self) -> Glance:
        """How it stands; where that takes a while, how it stood last."""
        if self._turns.acquire(_GLANCE_S):
            try:
                self._glance = _glance(self._shard)
            finally:
                self._turns.release()
        return self._glance

    def pull(self, fids: Mapping[str, U64], *, dense: bool) -> Pulled:
        """See Shard. Raises NotLeadingError, and what Shard.pull raises."""
        with self._turns:
            self._must_lead("a pull")
            return Pulled(self._shard.pull(fids), self._shard.pull_dense() if dense else {})

    def push(self, push: Push) -> PushReceipt:
        """See Shard. Raises NotLeadingError, and what Shard.push raises."""
        with self._turns:
            self._must_lead("a push")
            return self._shard.push(push)

    def positions(self) -> Positions:
        """See Shard. Raises NotLeadingError."""
        with self._turns:
            self._must_lead("its positions")
            return self._shard.positions()

    def fence(self, owners: Mapping[str, int]) -> None:
        """See Shard. Raises NotLeadingError."""
        with self._turns:
            self._must_lead("a fence")
            self._shard.fence(owners)

    def base(self, sealed_us: int) -> Block:
        """The whole state, from which a reader goes on with the next block; others wait meanwhile.

        What was learned since the last epoch is in it, and comes again with the next.
        """
        with self._sealing:
            self._finish()
            with self._turns:
                base = self._shard.export(sealed_us)
                # Having been promoted, it numbers epochs on from where no reader can stand yet.
                at = self.unsaved.end
                return replace(base, epoch=at.epoch, generation=at.generation)

    def read(self, after: Cursor, wait_s: float) -> list[Block]:
        """Blocks that follow a cursor, in order; none where none came within wait_s.

        Raises BlockGapError, ForeignBlockError: start again from a base.
        """
        if self.log.held_bytes == 0 and after not in self._before_log:
            at = self.unsaved.end
            raise ForeignBlockError(
                f"shard {self.number} is at epoch {at.epoch} of generation {at.generation}, the cursor "
                f"at {after.epoch} of {after.generation}; start again from a base block"
            )
        self.log.wait_for(self.number, after.epoch, wait_s, after.generation)
        return self.log.read(self.number, after.epoch, generation=after.generation)

    def digest(self) -> str:
        """See Shard; others wait meanwhile."""
        with self._turns:
            return self._shard.digest()

    def seal(self, epoch: int, sealed_us: int) -> Cursor:
        """End the current epoch as this one, with turns of others between:

        1. cut it
        2. copy its rows out, piece by piece
        3. hold it for the store
        4. hand it to readers: whatever they have can be saved

        Where it was sealed already, or a later one: no effect. An epoch that an error left behind is
        finished first. The newest cursor sealed. Raises NotLeadingError.
        """
        with self._sealing:
            self._finish()
            with self._turns:
                self._must_lead("an epoch")
                if epoch > self._shard.cursor.epoch:
                    self._rule.cut_rows = _rows(self._shard)
                    self._shard.begin_seal(sealed_us, epoch)  # 1
            self._finish()
        self.thin_out()
        return self.unsaved.end

    def follow(self, block: Block, still: Callable[[], bool]) -> bool:
        """Apply a leader's block, unless `still` denies that it is to be followed; False where it was
        applied before, or is not to be. Raises what Shard.apply raises.
        """
        with self._turns:
            if not still() or not self._shard.apply(block):
                return False
            self.unsaved.add(block, _rows(self._shard))
            self.log.append(block)
        return True

    def lead(self, generation: int, epoch: int, follows: Cursor | None) -> None:
        """Learn from now on: see ShardPort.lead. Raises SpecError."""
        with self._sealing:
            self._finish()
            with self._turns:
                at = self._shard.cursor
                if self._rule.leading and at.generation == generation:
                    return
                self._must_rise_to(generation)
                # Where readers stand. An epoch that was never sealed under an earlier promotion has
                # a cursor that nobody can stand at.
                after = follows or self.unsaved.end
                self._shard.promote(generation, epoch=max(epoch, at.epoch), follows=after)
                self.unsaved.bridge(after)
                self._before_log.add(after)
                self._rule.leading = self._rule.has_led = True

    def step_down(self) -> None:
        """Take no more pushes and pulls; the one under way has been answered."""
        with self._turns:
            self._rule.leading = False

    def close(self) -> None:
        """Another shard takes this one's place: no more pushes and pulls, and whoever waits is woken.

        Does not wait for the call under way.
        """
        self._rule.leading = False
        self.log.close()

    def go_back(
        self,
        restored: Shard,
        changed: Mapping[str, U64],
        generation: int,
        epoch: int,
        positions: Positions,
    ) -> None:
        """Lead on with an earlier state of this shard, the difference being the next block.

        changed: every fid in which it may differ. positions: where the present must stand, for that
        to be so. Raises SpecError where it stands elsewhere, or the generation is not a later one;
        then nothing has changed.
        """
        with self._sealing:
            self._finish()
            with self._turns:
                present = self._shard
                self._check_at(positions)
                self._must_rise_to(generation)
                restored.mark_changed(changed, present=present)
                # Who owns the stream is nothing that was learned, and stays as it is.
                restored.fence(present.standing().owners)
                epoch = max(epoch, present.cursor.epoch)
                restored.promote(generation, epoch=epoch, follows=self.unsaved.end)
                self._shard = restored
                self._rule.leading = self._rule.has_led = True

    def look(self, at: Callable[[Shard], T]) -> T:
        """Have `at` read the shard, and change nothing; others wait meanwhile."""
        with self._turns:
            return at(self._shard)

    def expire(self) -> dict[str, int]:
        """Free every row whose time is over; how many, by table. Raises NotLeadingError."""
        with self._turns:
            self._must_lead("expiry")
            now_s = self._shard.stats().event_ts_us // 1_000_000
            tables = {spec.name: self._shard.table(spec.name) for spec in self.spec.tables}
            return {
                name: table.expire(now_s=now_s, budget_rows=_ALL_ROWS)
                for name, table in tables.items()
            }

    def thin_out(self) -> None:
        """Merge unsaved blocks where they have become many or large."""
        if self.unsaved.crowded():
            self.unsaved.merge()

    def _finish(self) -> None:
        """Gather the epoch under way to its end, if there is one."""
        rule, handed_on = self._rule, False
        while not handed_on:
            with self._turns:
                if rule.gathered is None and not self._shard.is_sealing:
                    return
                # The shard has forgotten a block once it is out: it is kept until it is handed on.
                rule.gathered = rule.gathered or self._shard.gather(_GATHER_ROWS)  # 2
                if rule.gathered is not None:
                    if self.unsaved.end != rule.gathered.cursor:
                        self.unsaved.add(rule.gathered, rule.cut_rows)  # 3
                    self.log.append(rule.gathered)  # 4
                    rule.gathered, handed_on = None, True

    def _check_at(self, positions: Positions) -> None:
        found = self._shard.positions()
        if found != dict(positions):
            raise SpecError(
                f"{self._where}: shard {self.number} stands at {found}, and the newest restore point "
                f"at {dict(positions)}; hold the workers and save before going back"
            )

    def _must_rise_to(self, generation: int) -> None:
        at = self._shard.cursor.generation
        if at >= generation:
            raise SpecError(
                f"{self._where}: shard {self.number} is at generation {at} and cannot lead at "
                f"{generation}; draw a higher one"
            )

    def _must_lead(self, asked: str) -> None:
        if not self._rule.leading:
            raise NotLeadingError(
                self._where,
                asked,
                f"it holds shard {self.number} of {self.shards} without leading it",
            )


def _rows(shard: Shard) -> dict[str, int]:
    return {table.name: len(shard.table(table.name)) for table in shard.spec.tables}


def _glance(shard: Shard) -> Glance:
    stats = shard.stats()
    positions = shard.positions()
    return Glance(
        shard.cursor,
        positions,
        ShardStatus(
            shard=shard.spec.shard,
            generation=stats.generation,
            epoch=stats.epoch,
            event_ts_us=stats.event_ts_us,
            positions=positions,
            rows=sum(table.rows for table in stats.tables.values()),
            allocated_bytes=sum(table.allocated_bytes for table in stats.tables.values()),
            pushes_applied=stats.pushes_applied,
            pushes_repeated=stats.pushes_repeated,
        ),
    )
