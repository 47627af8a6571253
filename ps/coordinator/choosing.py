"""Which of the processes of a shard is to lead it, and what it must do first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ps.block import Cursor
    from ps.coordinator.fleet import ShardSeat
    from ps.host.port import HostStatus


@dataclass(frozen=True, slots=True)
class Candidate:
    """A seat, and what its process said of itself."""

    seat: ShardSeat
    status: HostStatus


@dataclass(frozen=True, slots=True)
class Choice:
    """adopt: it leads already. promote: as it stands. restore: from the newest restore point first."""

    how: Literal["adopt", "promote", "restore"]
    candidate: Candidate


def choose(
    candidates: Sequence[Candidate],
    shard: int,
    shards: int,
    saved: Cursor,
    *,
    may_keep: bool = True,
    avoid: str | None = None,
) -> Choice | None:
    """Of the processes that answer; None where there is none.

    saved: where the store has the shard. What stands before that cannot be saved any more, so it is
    of no use, and nothing that is saved is given up for it: of a lower generation it was left behind,
    be its epoch what it may. may_keep: False: what they hold is not what the job is to go on from.
    avoid: the process that is to be replaced, taken only where there is no other.
    """
    found = [one for one in candidates if one.status.process != avoid]
    useful = [one for one in found if may_keep and _stands(one, shard, shards, saved)]
    for role, how in (("leading", "adopt"), ("following", "promote")):
        able = [one for one in useful if one.status.role == role]
        if able:
            furthest = max(able, key=lambda one: (_age(one.status.cursor), one.seat.name))
            return Choice("adopt" if how == "adopt" else "promote", furthest)
    # One that holds nothing first: it has nothing to lose, and the memory for it.
    ranked = sorted(
        found or candidates, key=lambda one: (one.status.role != "empty", one.seat.name)
    )
    return Choice("restore", ranked[0]) if ranked else None


def _stands(one: Candidate, shard: int, shards: int, saved: Cursor) -> bool:
    status = one.status
    return (
        (status.shard, status.shards) == (shard, shards)
        and status.cursor is not None
        and _age(status.cursor) >= _age(saved)
    )


def _age(cursor: Cursor | None) -> tuple[int, int]:
    """What cursors of one shard are ordered by: the generation comes first."""
    return (0, 0) if cursor is None else (cursor.generation, cursor.epoch)
