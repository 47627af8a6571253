"""The catalog: which restore points a store has, and what each needs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ps.block import Cursor
from ps.errors import CorruptFileError, FileMissingError, ForeignFileError, NoRestorePointError
from ps.store import snapshot_file
from ps.store.commit_codec import decode_commit
from ps.store.inventory import Inventory, blocks_added, newest_first
from ps.store.names import (
    BASES,
    BLOCKS,
    CLAIMS,
    COMMITS,
    SNAPSHOTS,
    base_name,
    block_name,
    commit_name,
    cursor_of,
    generation_of,
    shard_of,
    snapshot_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from ps.store.commit import Commit, ShardChain
    from ps.store.description import ModelDescription
    from ps.store.location import Location
    from ps.stream import Positions

# Small files of a store that is far away are read so many at a time.
_READERS = 16


@dataclass(frozen=True, slots=True)
class PointInfo:
    """One restore point. rows: over all tables. bytes_to_read: of its bases and blocks. pinned_by:
    the names of the snapshots that keep it. missing_files: how many of its files are not there.
    """

    at: Cursor
    model: str
    created_us: int
    event_ts_us: int
    shards: int
    positions: Positions
    rows: int
    bytes_to_read: int
    aligned: bool
    pinned_by: tuple[str, ...] = ()
    missing_files: int = 0


class Catalog:
    """Reads a store's commits, and remembers them: they never change. One thread's own.

    A damaged commit or snapshot is left out and reported (faults()), never fatal. Everything raises
    StoreUnavailableError.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        self._commits: dict[str, Commit] = {}
        self._chains: dict[int, ShardChain] = {}
        self._description: ModelDescription | None = None

    def survey(self) -> Inventory:
        """What the store holds now."""
        # Commits are listed before what they name: a writer writes in the other order.
        listed = {i.name: i for i in self.location.list(COMMITS)}
        commits = {n: i for n, i in listed.items() if n == commit_name(_cursor(n))}
        snapshots = {i.name: i for i in self.location.list(SNAPSHOTS) if snapshot_of(i.name)}
        faults: dict[str, str] = {}
        foreign: set[str] = set()
        found = self._read_all([*commits, *snapshots], faults, foreign)
        # A snapshot holds its commit, and keeps it where the commit's own file is gone or damaged.
        by_cursor = {
            found[name].at: found[name] for name in (*snapshots, *commits) if name in found
        }
        return Inventory(
            blocks=self._sizes(BLOCKS, block_name),
            bases=self._sizes(BASES, base_name),
            commits=by_cursor,
            commit_files={_cursor(name): info for name, info in commits.items()},
            pins={_snapshot(name): found[name].at for name in snapshots if name in found},
            snapshot_files=snapshots,
            faults=faults,
            foreign=frozenset(foreign),
            generations=tuple(self._claims()),
        )

    def points(self) -> list[PointInfo]:
        """The restore points, newest last."""
        return points_of(self.survey())

    def faults(self) -> dict[str, str]:
        """What is wrong with commits and snapshots that cannot be read, by name of the file."""
        return dict(self.survey().faults)

    def read(self, at: Cursor) -> Commit:
        """One restore point, whole. Raises NoRestorePointError, CorruptFileError, ForeignFileError."""
        name = commit_name(at)
        try:
            return decode_commit(self.location.read(name), name)
        except (FileMissingError, CorruptFileError) as error:
            pinned = self._read_pinned(at)
            if pinned is not None:
                return pinned
            if isinstance(error, CorruptFileError):
                raise
            raise self._no_point(at.epoch) from error

    def read_epoch(self, epoch: int) -> Commit:
        """The restore point of an epoch, of the newest generation that has one.

        Raises NoRestorePointError, which names the nearest, CorruptFileError, ForeignFileError.
        """
        files = self.location.list(COMMITS)
        known = [at for at in (cursor_of(info.name) for info in files) if at is not None]
        known += self.survey().pins.values()
        for at in newest_first(at for at in known if at.epoch == epoch):
            return self.read(at)
        raise self._no_point(epoch)

    def newest_cursor(self) -> Cursor:
        """The highest epoch and the highest generation of any file, damaged or not; (0, 0): none."""
        names = [i.name for folder in (BLOCKS, BASES, COMMITS) for i in self.location.list(folder)]
        seen = [at for at in map(cursor_of, names) if at is not None]
        generations = [at.generation for at in seen] + self._claims()
        return Cursor(max((at.epoch for at in seen), default=0), max(generations, default=0))

    def chain_without(self, commit: Commit, damaged: Collection[str]) -> Commit | None:
        """The same restore point by way of undamaged files (Inventory.chain_without); None: no way."""
        return self.survey().chain_without(commit, damaged)

    def newest_whole(
        self, damaged: Collection[str] = (), *, at_most: Cursor | None = None
    ) -> Commit | None:
        """The newest restore point that needs none of the damaged files; None: there is none.

        damaged: what reading has shown to be so; files that are not there need not be named. A
        damaged commit passes for none.
        """
        newest = None if damaged or at_most is not None else self._newest_if_whole()
        if newest is not None:
            return newest
        inventory = self.survey()
        gone: set[Cursor] = set()
        while True:
            left = replace(
                inventory, commits={a: c for a, c in inventory.commits.items() if a not in gone}
            )
            found = left.newest_whole(damaged, at_most=at_most)
            if found is None:
                return None
            try:
                return replace(found, worker=self.read(found.at).worker)
            except (NoRestorePointError, CorruptFileError):  # since it was surveyed
                gone.add(found.at)

    def _newest_if_whole(self) -> Commit | None:
        """The newest commit, where no file it names is missing: the common case, without a survey."""
        files = self.location.list(COMMITS)
        known = [at for at in (cursor_of(info.name) for info in files) if at is not None]
        pinned = [snapshot.commit.at for snapshot in self._snapshots()]
        if not known or newest_first(known)[0] != newest_first(known + pinned)[0]:
            return None
        try:
            commit = self.read(newest_first(known)[0])
        except (NoRestorePointError, CorruptFileError):
            return None
        there = Inventory(
            blocks=self._sizes(BLOCKS, block_name), bases=self._sizes(BASES, base_name)
        )
        return None if there.missing(commit) else commit

    def _claims(self) -> list[int]:
        found = (generation_of(info.name) for info in self.location.list(CLAIMS))
        return sorted(generation for generation in found if generation is not None)

    def _read_all(
        self, names: list[str], faults: dict[str, str], foreign: set[str]
    ) -> dict[str, Commit]:
        """The commits of commit and snapshot files, without their `worker`."""

        def read(name: str) -> Commit | CorruptFileError | ForeignFileError | None:
            try:
                data = self.location.read(name)
                if snapshot_of(name):
                    return snapshot_file.decode_snapshot(data, name).commit
                return decode_commit(data, name)
            except FileMissingError:  # pruned since it was listed
                return None
            except (CorruptFileError, ForeignFileError) as error:
                return error

        # A snapshot's name may be given again to something else; a commit's never is.
        listed = {name for name in names if snapshot_of(name) is None}
        self._commits = {name: c for name, c in self._commits.items() if name in listed}
        wanted = [name for name in names if name not in self._commits]
        if self.location.is_local or len(wanted) < 2:
            results = list(map(read, wanted))
        else:
            with ThreadPoolExecutor(_READERS, thread_name_prefix="catalog") as readers:
                results = list(readers.map(read, wanted))
        for name, result in zip(wanted, results, strict=True):
            if isinstance(result, CorruptFileError):
                faults[name] = result.fault
            elif isinstance(result, ForeignFileError):
                faults[name] = str(result)
                foreign.add(name)
            elif result is not None:
                self._commits[name] = self._compact(result)
        return self._commits

    def _compact(self, commit: Commit) -> Commit:
        """The commit with as much as possible in common with those before it: there are thousands."""
        if commit.description == self._description:
            commit = replace(commit, description=self._description)
        self._description = commit.description
        return replace(commit, shards=tuple(map(self._share, commit.shards)), worker=b"")

    def _share(self, chain: ShardChain) -> ShardChain:
        previous = self._chains.get(chain.shard)
        added = blocks_added(previous, chain)
        if previous is not None and added is not None:
            chain = replace(chain, blocks=(*previous.blocks, *added))
        self._chains[chain.shard] = chain
        return chain

    def _sizes(
        self, folder: str, name_of: Callable[[int, Cursor], str]
    ) -> dict[tuple[int, Cursor], int]:
        found = {}
        for info in self.location.list(folder):
            at, shard = cursor_of(info.name), shard_of(info.name)
            if at is not None and shard is not None and info.name == name_of(shard, at):
                found[shard, at] = info.size
        return found

    def _read_pinned(self, at: Cursor) -> Commit | None:
        for snapshot in self._snapshots():
            if snapshot.commit.at == at:
                return snapshot.commit
        return None

    def _snapshots(self) -> Iterator[snapshot_file.Snapshot]:
        """Those that can be read."""
        for info in self.location.list(SNAPSHOTS):
            try:
                yield snapshot_file.decode_snapshot(self.location.read(info.name), info.name)
            except (FileMissingError, CorruptFileError, ForeignFileError):
                continue

    def _no_point(self, epoch: int) -> NoRestorePointError:
        known = sorted(point.at.epoch for point in self.points())
        before = max((e for e in known if e <= epoch), default=None)
        after = min((e for e in known if e > epoch), default=None)
        nearest = [f"{e}" for e in (before, after) if e is not None]
        what = f"the nearest {'is' if len(nearest) == 1 else 'are'} {' and '.join(nearest)}"
        return NoRestorePointError(
            f"store {self.location.url} has no restore point of epoch {epoch}; "
            + (what if nearest else "it has none at all")
        )


def points_of(inventory: Inventory) -> list[PointInfo]:
    """The restore points of an inventory, newest last."""
    pinned: dict[Cursor, list[str]] = {}
    for name, at in sorted(inventory.pins.items()):
        pinned.setdefault(at, []).append(name)
    points = []
    reach: dict[int, tuple[ShardChain, int, int]] = {}
    for commit in inventory.oldest_first():
        size = missing = 0
        for chain in commit.shards:
            reach[chain.shard] = _reach(inventory, reach.get(chain.shard), chain)
            size += reach[chain.shard][1]
            missing += reach[chain.shard][2]
        points.append(
            PointInfo(
                at=commit.at,
                model=commit.model,
                created_us=commit.created_us,
                event_ts_us=commit.event_ts_us,
                shards=len(commit.shards),
                positions=commit.positions,
                rows=sum(commit.rows.values()),
                bytes_to_read=size,
                aligned=commit.aligned,
                pinned_by=tuple(pinned.get(commit.at, ())),
                missing_files=missing,
            )
        )
    return points


def _reach(
    inventory: Inventory, previous: tuple[ShardChain, int, int] | None, chain: ShardChain
) -> tuple[ShardChain, int, int]:
    """(chain, bytes of its files that are there, how many are not)."""
    added = None if previous is None else blocks_added(previous[0], chain)
    if previous is None or added is None:
        base = (0 if chain.base is None else inventory.bases.get((chain.shard, chain.base)),)
        sizes = [*base, *(inventory.blocks.get((chain.shard, at)) for at in chain.blocks)]
        size = missing = 0
    else:
        sizes = [inventory.blocks.get((chain.shard, at)) for at in added]
        _, size, missing = previous
    there = [found for found in sizes if found is not None]
    return chain, size + sum(there), missing + len(sizes) - len(there)


def _cursor(name: str) -> Cursor:
    return cursor_of(name) or Cursor(0, 0)


def _snapshot(name: str) -> str:
    return snapshot_of(name) or ""
