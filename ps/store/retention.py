"""Retention: which restore points and files may go, and how they go without breaking what stays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ps.errors import CorruptFileError, SpecError, StoreError
from ps.store.coverage import Coverage
from ps.store.inventory import age_order, newest_first
from ps.store.names import (
    BASES,
    BLOCKS,
    CLAIMS,
    COMMITS,
    base_name,
    block_name,
    claim_name,
    commit_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from ps.block import Cursor
    from ps.store.catalog import Catalog
    from ps.store.commit import Commit, ShardChain
    from ps.store.inventory import Inventory
    from ps.store.location import FileInfo, Location

_MICROSECONDS = 1_000_000
# Claims tell who wrote of late; only the newest has a meaning.
_CLAIMS_KEPT = 8


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """What is kept: a restore point goes once it is beyond any limit. None: no such limit.

    points: how many restore points. age_s: since a point was committed. bytes: of the bases and
    blocks that restore points need, together. The newest point and snapshots always stay, and count.
    """

    points: int | None = None
    age_s: float | None = None
    bytes: int | None = None

    def __post_init__(self) -> None:
        for key, limit in (("points", self.points), ("age_s", self.age_s), ("bytes", self.bytes)):
            if limit is not None and not limit > 0:
                raise SpecError(
                    f"retention keeps {key}: {limit!r}; set it above 0, or leave it out for no limit"
                )


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """What goes. points: restore points, oldest first. files: blocks and bases that no restore point
    that stays needs. leftovers: damaged commits older than all that stays, claims long past, and what
    dead writers were writing. bytes: of files; leftover_bytes: of leftovers, where pruning looked.
    """

    points: tuple[Cursor, ...] = ()
    files: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()
    bytes: int = 0
    leftover_bytes: int = 0


def plan(
    inventory: Inventory,
    policy: RetentionPolicy,
    *,
    now_us: int,
    pinned: Collection[Cursor] = (),
    chains: Sequence[ShardChain] = (),
    writing_since: int | None = None,
    unfinished: Collection[str] = (),
) -> PrunePlan:
    """What pruning would delete. now_us: wall time. pinned: restore points that stay as snapshots do:
    the one a job was restored from, until it has committed. chains: whose files stay, whether a
    restore point names them yet or not: those the living writer goes on from. writing_since: the
    generation at which it began; None: the newest. unfinished: files left half-written.

    Raises StoreError and CorruptFileError where a file that may need others cannot be read: another
    release's commit or snapshot, a damaged snapshot.
    """
    _refuse_what_cannot_be_read(inventory)
    newest = inventory.newest
    if newest is None:
        return PrunePlan()
    pinned = {*inventory.pins.values(), *inventory.commits.keys() & set(pinned)}
    kept, coverage = _kept(inventory, policy, now_us, pinned)
    gone = [at for at in inventory.commits if at not in kept and at in inventory.commit_files]
    coverage.add(chains)
    own = max((newest.at.generation, *inventory.generations))
    files = _unneeded(inventory, newest, coverage, own if writing_since is None else writing_since)
    return PrunePlan(
        points=tuple(reversed(newest_first(gone))),
        files=tuple(name for name, _ in files),
        leftovers=(
            *(commit_name(at) for at in _old_damaged(inventory, kept)),
            *(claim_name(generation) for generation in inventory.generations[:-_CLAIMS_KEPT]),
            *(name for name in unfinished if name.startswith((BLOCKS, BASES, COMMITS))),
        ),
        bytes=sum(size for _, size in files),
    )


def prune(
    catalog: Catalog,
    policy: RetentionPolicy,
    *,
    now_us: int,
    pinned: Collection[Cursor] = (),
    chains: Sequence[ShardChain] = (),
    writing_since: int | None = None,
    dry_run: bool = False,
    on_step: Callable[[str], None] | None = None,
) -> PrunePlan:
    """Delete what a policy no longer keeps; only for whoever has the store's claim:

    1. read what the store holds, and decide
    2. delete the commits that go
    3. read again what is left: restore points and snapshots made meanwhile need files, too
    4. delete the blocks and bases that nothing left needs
    5. delete leftovers

    A crash between any two leaves restore points that are whole, and files that nothing needs, which
    the next pruning deletes. on_step: told the number of each step as it has been done, for crash
    tests. Returns what was deleted, or (dry_run) would be. Raises what plan() does, and
    StoreUnavailableError.
    """
    step = on_step or _ignore
    location = catalog.location
    unfinished = location.list_unfinished()
    planned = plan(  # 1
        catalog.survey(),
        policy,
        now_us=now_us,
        pinned=pinned,
        chains=chains,
        writing_since=writing_since,
        unfinished=[info.name for info in unfinished],
    )
    planned = replace(planned, leftover_bytes=_bytes_of(planned.leftovers, location, unfinished))
    if dry_run:
        return planned
    step("prune.1")
    location.delete([commit_name(at) for at in planned.points])  # 2
    step("prune.2")
    left = plan(  # 3
        catalog.survey(),
        RetentionPolicy(),
        now_us=now_us,
        chains=chains,
        writing_since=writing_since,
    )
    step("prune.3")
    location.delete(left.files)  # 4
    step("prune.4")
    location.delete(planned.leftovers)  # 5
    step("prune.5")
    return replace(planned, files=left.files, bytes=left.bytes)


def _bytes_of(names: Sequence[str], location: Location, unfinished: Sequence[FileInfo]) -> int:
    if not names:
        return 0
    listed = [*unfinished, *location.list(COMMITS), *location.list(CLAIMS)]
    sizes = {info.name: info.size for info in listed}
    return sum(sizes.get(name, 0) for name in names)


def _refuse_what_cannot_be_read(inventory: Inventory) -> None:
    for name in sorted(inventory.foreign):
        raise StoreError(
            f"{inventory.faults[name]}; what it needs cannot be told, so nothing is deleted"
        )
    for name in sorted(inventory.snapshot_files):
        if name in inventory.faults:
            raise CorruptFileError(
                name,
                f"{inventory.faults[name]}; what it keeps cannot be told, so nothing is deleted: "
                "delete that snapshot, and make it again if its restore point is still there",
            )


def _kept(
    inventory: Inventory, policy: RetentionPolicy, now_us: int, pinned: set[Cursor]
) -> tuple[set[Cursor], Coverage]:
    """The restore points that stay, and the files they need."""
    coverage = Coverage(inventory)
    kept: set[Cursor] = set()

    def keep(at: Cursor) -> None:
        kept.add(at)
        coverage.add(inventory.commits[at].shards)

    order = newest_first(inventory.commits)
    for at in sorted({*order[:1], *pinned}, key=age_order, reverse=True):
        keep(at)
    for rank, at in enumerate(order):
        if at in kept:
            continue
        commit = inventory.commits[at]
        if policy.points is not None and rank >= policy.points:
            break
        if policy.age_s is not None and now_us - commit.created_us > policy.age_s * _MICROSECONDS:
            continue
        if policy.bytes is not None and coverage.bytes + coverage.added(commit) > policy.bytes:
            break
        keep(at)
    return kept, coverage


def _unneeded(
    inventory: Inventory, newest: Commit, coverage: Coverage, own: int
) -> list[tuple[str, int]]:
    """(name, bytes) of blocks and bases that no restore point which stays needs, nor any to come.

    What the living writer has written for its next commit is such: blocks and bases newer than the
    newest restore point, and bases of the newest chains, made by compaction. own: the generation it
    began at: what it sealed before it took its newest may still be on its way.
    """
    chains = {chain.shard: set(chain.blocks) for chain in newest.shards}

    def is_to_come(at: Cursor) -> bool:
        return at.epoch > newest.at.epoch and at.generation >= own

    files = [
        (block_name(shard, at), size)
        for (shard, at), size in sorted(inventory.blocks.items())
        if (shard, at) not in coverage.blocks and not is_to_come(at)
    ]
    files += [
        (base_name(shard, at), size)
        for (shard, at), size in sorted(inventory.bases.items())
        if (shard, at) not in coverage.bases
        and not is_to_come(at)
        and at not in chains.get(shard, ())
    ]
    return files


def _old_damaged(inventory: Inventory, kept: set[Cursor]) -> list[Cursor]:
    oldest = min(map(age_order, kept))
    damaged = (at for at in inventory.commit_files if commit_name(at) in inventory.faults)
    return [at for at in damaged if age_order(at) < oldest]


def _ignore(step: str) -> None:
    del step
