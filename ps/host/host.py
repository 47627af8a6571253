"""The process of a shard: it learns, or follows the one that does, and does as the coordinator says."""

from __future__ import annotations

import os
import threading
import uuid
from typing import TYPE_CHECKING

from ps.errors import NotLeadingError, SpecError, StaleTermError
from ps.fingerprint import code_fingerprint
from ps.host import looking
from ps.host.beginnings import StoredBeginnings
from ps.host.following import Following
from ps.host.held import HeldShard, HostLimits
from ps.host.port import GoneBack, HostStatus
from ps.host.saving import save
from ps.host.stored import (
    chain_of,
    changed_in,
    count_changed,
    cursor_of,
    restored_shard,
)
from ps.host.turns import Turns
from ps.host.warmup import warm_up
from ps.net.data import LEADERS_CALLS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ps.admin.target import TableStatus
    from ps.arrays import U64
    from ps.block import Block, Cursor
    from ps.clock import Clock
    from ps.host.port import Role, SavedBlock
    from ps.inspected import InspectedRow, InspectedSlot
    from ps.messages import Pulled, Push, PushReceipt
    from ps.net.data import Call
    from ps.net.feed_source import BlockSource
    from ps.shard import Shard, ShardSpec
    from ps.store.commit import Commit
    from ps.store.location import Location
    from ps.stream import Positions

    # The data service at an address, for one shard of so many.
    Connect = Callable[[str, int, int], BlockSource]

_CLOSE_S = 5.0


class ShardHost:
    """A ShardPort for the coordinator and a ShardData for everybody else. Safe from any thread.

    seat: its name, for messages. open_store: called once, when the store is first needed. connect:
    reaches another host's data service. address: of its own, set once that listens.

    What changes who learns here (restore, follow, lead, go_back) is carried out one at a time, in the
    order it came; seal and save go on beside, and hello waits for none of them.
    """

    def __init__(
        self,
        seat: str,
        *,
        open_store: Callable[[], Location],
        connect: Connect,
        clock: Clock,
        node: str = "",
        limits: HostLimits | None = None,
    ) -> None:
        self.address = ""
        self._seat = seat
        self._open_store = open_store
        self._connect = connect
        self._clock = clock
        self._node = node
        self._limits = limits or HostLimits()
        self._process = uuid.uuid4().hex
        self._fingerprint = code_fingerprint()
        self._opening = threading.Lock()
        self._location: Location | None = None
        self._ruling = Turns()
        self._changing = threading.Lock()  # of the next five, together
        self._term = 0
        self._held: HeldShard | None = None
        self._following: Following | None = None
        self._followed: tuple[str, ShardSpec, int] | None = None
        self._gone_back: tuple[int, GoneBack] | None = None
        self._closed = False

    # As the coordinator commands it.

    def hello(self) -> HostStatus:
        """See ShardPort."""
        with self._changing:
            held, following = self._held, self._following
        glance = None if held is None else held.glance()
        return HostStatus(
            process=self._process,
            node=self._node,
            pid=os.getpid(),
            address=self.address,
            role=_role(held, following),
            fingerprint=self._fingerprint,
            shard=None if held is None else held.number,
            shards=None if held is None else held.shards,
            cursor=None if glance is None else glance.cursor,
            positions={} if glance is None else glance.positions,
            status=None if glance is None else glance.status,
            last_error=None if following is None else following.last_error,
        )

    def restore(self, term: int, spec: ShardSpec, shards: int, commit: Commit | None) -> HostStatus:
        """See ShardPort. Until it leads or follows, it counts as following, and nobody changes it."""
        self._obey(term)
        with self._ruling:
            self._obey(term)
            warm_up(spec)
            held = self._hold(restored_shard(self._store(), commit, spec, shards), shards)
            with self._changing:
                self._must_obey(term)
                self._stop_following()
                self._replace(held)
        return self.hello()

    def follow(
        self, term: int, spec: ShardSpec, shards: int, commit: Commit | None, leader: str
    ) -> HostStatus:
        """See ShardPort:

        1. take no more pushes and pulls
        2. forget the blocks that the store has
        3. follow nobody else any more
        4. follow the leader, from what is held or anew

        Told again to follow the same leader, perhaps with a newer commit, it does 2 and goes on. What
        has learned itself does not go on as a standby, for what came after its last block is in no
        other copy; but it is there to lead until what was begun anew fits the leader.
        """
        self.step_down(term)  # 1
        with self._ruling, self._changing:
            self._must_obey(term)
            saved = cursor_of(commit, spec.shard, shards)
            if self._held is not None and saved is not None:
                self._held.unsaved.forget(saved)  # 2
            if self._following is None or self._followed != (leader, spec, shards):
                self._stop_following()  # 3
                self._follow(spec, shards, commit, leader)  # 4
        return self.hello()

    def lead(
        self, term: int, generation: int, *, epoch: int, follows: Cursor | None = None
    ) -> HostStatus:
        """See ShardPort:

        1. obey
        2. follow no more: a block that is being applied is the last
        3. number epochs on at this generation, and take pulls and pushes

        Each may be repeated; a host that stops after 2 stands still and can be told again.
        """
        self._obey(term)
        with self._ruling:
            self._obey(term)  # 1
            held = self._something("lead")
            with self._changing:
                self._stop_following()  # 2
            held.lead(generation, epoch, follows)  # 3
        return self.hello()

    def step_down(self, term: int) -> HostStatus:
        """See ShardPort."""
        self._obey(term)
        held = self._held
        if held is not None:
            held.step_down()
        return self.hello()

    def seal(self, term: int, epoch: int, sealed_us: int) -> Cursor:
        """See ShardPort. Raises NotLeadingError."""
        self._obey(term)
        return self._holding("an epoch").seal(epoch, sealed_us)

    def save(self, term: int, after: Cursor) -> SavedBlock:
        """See ShardPort, and ps.host.saving."""
        self._obey(term)
        held = self._holding("a block for the store")
        with held.saving:
            return save(self._store(), held.unsaved, after)

    def go_back(
        self, term: int, commit: Commit, present: Commit, generation: int, *, epoch: int
    ) -> GoneBack:
        """See ShardPort; it learned what is gone back behind, or was restored as of `present`:

        1. restore the earlier state beside the present one, which can be read meanwhile
        2. find every fid that changed since
        3. lead on with the earlier state: where learning still stands at `present`, count those fids
           as changed, and number epochs on at this generation

        Until 3 nothing has changed. The next seal() makes the block of it. Memory: the shard twice.
        """
        self._obey(term)
        with self._ruling:
            self._obey(term)
            held = self._something("go back")
            if self._gone_back is not None and self._gone_back[0] == generation:
                return self._gone_back[1]
            restored = restored_shard(self._store(), commit, held.spec, held.shards)  # 1
            changed = self._changed(held, commit, present, restored)  # 2
            here, missing = count_changed(restored, changed)
            with self._changing:
                self._must_obey(term)
                self._stop_following()
            positions = chain_of(present, held.number).positions
            held.go_back(restored, changed, generation, epoch, positions)  # 3
            self._gone_back = (generation, GoneBack(here, missing))
            return self._gone_back[1]

    def tables(self) -> list[TableStatus]:
        """See ShardPort."""
        return looking.tables(self._holding("its tables"))

    def inspect_fid(self, fid: int, table: str | None) -> list[InspectedRow]:
        """See ShardPort; nothing where another shard owns it. Raises UnknownTableError, SpecError."""
        return looking.inspect_fid(self._holding("a fid"), fid, table)

    def inspect_slot(self, slot: int, table: str | None, rows: int) -> list[InspectedSlot]:
        """See ShardPort. Raises UnknownTableError, SpecError."""
        return looking.inspect_slot(self._holding("a slot"), slot, table, rows)

    def expire(self, term: int) -> Mapping[str, int]:
        """See ShardPort. Raises NotLeadingError."""
        self._obey(term)
        return self._holding("expiry").expire()

    def digest(self) -> str:
        """See ShardPort; pulls and pushes wait meanwhile."""
        return self._holding("its digest").digest()

    # As workers and readers see it.

    def check(self, shard: int, shards: int, asked: Call, generation: int | None = None) -> None:
        """See ShardData."""
        held = self._holding(asked)
        if (held.number, held.shards) != (shard, shards):
            raise self._not_leading(
                f"{asked} of shard {shard} of {shards}",
                f"it holds shard {held.number} of {held.shards}",
            )
        if asked in LEADERS_CALLS and not held.is_leading:
            raise self._not_leading(asked, f"it does not lead shard {shard} of {shards}")
        if asked in LEADERS_CALLS and generation not in (None, held.generation):
            raise self._not_leading(
                f"{asked} at generation {generation}", f"it leads at {held.generation}"
            )

    def pull(self, fids: Mapping[str, U64], *, dense: bool) -> Pulled:
        """See ShardData."""
        return self._holding("a pull").pull(fids, dense=dense)

    def push(self, push: Push) -> PushReceipt:
        """See ShardData."""
        return self._holding("a push").push(push)

    def positions(self) -> Positions:
        """See ShardData."""
        return self._holding("its positions").positions()

    def fence(self, owners: Mapping[str, int]) -> None:
        """See ShardData."""
        self._holding("a fence").fence(owners)

    def read(self, after: Cursor, wait_s: float) -> list[Block]:
        """See ShardData."""
        return self._holding("its blocks").read(after, wait_s)

    def base(self) -> Block:
        """See ShardData; pulls and pushes wait while it is copied."""
        return self._holding("a base").base(self._clock.now_us())

    def close(self) -> None:
        """Follow no more, take no calls any more, and wake whoever waits. The process is to end."""
        with self._changing:
            self._closed = True
            following = self._following
            self._stop_following()
            if self._held is not None:
                self._held.close()
        if following is not None:
            following.join(_CLOSE_S)

    # Where a standby begins: see ps.host.following.

    def _follow(self, spec: ShardSpec, shards: int, commit: Commit | None, leader: str) -> None:
        held = self._held
        goes_on = (
            held is not None and (held.spec, held.shards) == (spec, shards) and not held.has_led
        )
        self._followed = (leader, spec, shards)
        self._following = Following(
            self._seat,
            held if goes_on else None,
            lambda: self._connect(leader, spec.shard, shards),
            StoredBeginnings(
                self._store, self._hold, spec, shards, None if goes_on else commit, newest=goes_on
            ),
            self._install,
            replaces=held is not None,
        )
        self._following.start()

    def _install(self, following: Following, held: HeldShard) -> bool:
        with self._changing:
            if self._following is not following or not following.goes_on:
                return False
            self._replace(held)
            return True

    def _stop_following(self) -> None:
        if self._following is not None:
            self._following.end()
        self._following = self._followed = None

    def _replace(self, held: HeldShard) -> None:
        before, self._held = self._held, held
        self._gone_back = None
        if before is not None:
            before.close()

    def _hold(self, shard: Shard, shards: int) -> HeldShard:
        return HeldShard(self._seat, shard, shards, self._limits)

    def _changed(
        self, held: HeldShard, commit: Commit, present: Commit, restored: Shard
    ) -> dict[str, U64]:
        # The shard itself is read here, without its turn: nobody pushes, or step 3 refuses.
        return changed_in(
            self._store(), commit, present, restored, lambda: held.look(lambda shard: shard)
        )

    def _holding(self, asked: str) -> HeldShard:
        held = self._held
        if held is None or self._closed:
            raise self._not_leading(asked, "it is ending" if self._closed else "it holds no shard")
        return held

    def _something(self, to: str) -> HeldShard:
        if self._held is None:
            raise SpecError(f"{self._seat} holds no shard to {to} with; restore one first")
        return self._held

    def _not_leading(self, asked: str, holds: str) -> NotLeadingError:
        return NotLeadingError(self._seat, asked, holds)

    def _store(self) -> Location:
        with self._opening:
            if self._location is None:
                self._location = self._open_store()
            return self._location

    def _obey(self, term: int) -> None:
        with self._changing:
            self._must_obey(term)

    def _must_obey(self, term: int) -> None:
        if term < self._term:
            raise StaleTermError(self._term, term)
        self._term = term


def _role(held: HeldShard | None, following: Following | None) -> Role:
    if held is not None and held.is_leading:
        return "leading"
    return "empty" if held is None and following is None else "following"
