"""Verifying a store: every file read, every checksum taken, and what that means for restoring."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from ps.errors import CorruptFileError, FileMissingError, ForeignFileError
from ps.store.catalog import Catalog
from ps.store.claim import check_claim
from ps.store.identity import read_identity
from ps.store.inventory import names_of
from ps.store.names import (
    BLOCKS,
    CLAIMS,
    IDENTITY,
    base_name,
    block_name,
    cursor_of,
    generation_of,
    is_store_file,
    shard_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ps.block import Cursor
    from ps.store.commit import Commit, ShardChain
    from ps.store.inventory import Inventory
    from ps.store.location import Location


@dataclass(frozen=True, slots=True)
class Problem:
    """One file that is missing, damaged, or stands where it does not belong. name: of the file."""

    name: str
    fault: str

    def __str__(self) -> str:
        return f"{self.name}: {self.fault}"


@dataclass(frozen=True, slots=True)
class PointState:
    """A restore point. faults: what is wrong with files it names; whole: whether it can be restored
    all the same, by way of others (Inventory.chain_without).
    """

    at: Cursor
    whole: bool
    faults: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was found. files, bytes: that were read. problems: by name of the file. points: oldest
    first. orphans: blocks and bases that no restore point needs, which is no fault: pruning deletes
    them. strangers: files that are no store's.
    """

    url: str
    files: int
    bytes: int
    problems: tuple[Problem, ...]
    points: tuple[PointState, ...]
    orphans: tuple[str, ...]
    strangers: tuple[str, ...]

    @property
    def newest_whole(self) -> Cursor | None:
        """The newest restore point that can be restored."""
        return next((point.at for point in reversed(self.points) if point.whole), None)


def verify(
    location: Location,
    *,
    deep: bool = True,
    only: Cursor | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> VerifyReport:
    """Check every file of a store, whether or not something writes to it.

    deep: read blocks and bases, and not only see that they are there. only: no more than one restore
    point and what it needs. on_progress: told the bytes read so far, and of how many.

    Raises NoRestorePointError where `only` is none, StoreUnavailableError; nothing about damage.
    """
    catalog = Catalog(location)
    inventory = catalog.survey()
    commits = inventory.oldest_first() if only is None else [catalog.read(only)]
    reading = _Reading(location, inventory, on_progress)
    if only is None:
        reading.note_records()
        files = {block_name(*key): size for key, size in inventory.blocks.items()}
        files |= {base_name(*key): size for key, size in inventory.bases.items()}
    else:
        files = _files_of(commits[0], inventory)
    if deep:
        reading.read(files)
    for commit in commits:
        for name in inventory.missing(commit):
            reading.problems.setdefault(name, "is missing")
    needed = {name for commit in commits for name in names_of(commit)}
    return VerifyReport(
        url=location.url,
        files=reading.files,
        bytes=reading.bytes,
        problems=tuple(Problem(name, reading.problems[name]) for name in sorted(reading.problems)),
        points=tuple(reading.state_of(commit) for commit in commits),
        orphans=tuple(sorted(files.keys() - needed)),
        strangers=tuple(_strangers(location)) if only is None else (),
    )


@dataclass(slots=True)
class _Reading:
    """What has been read so far. problems: fault by name. follows: where each block says one must
    stand before it, by shard and cursor.
    """

    location: Location
    inventory: Inventory
    on_progress: Callable[[int, int], None] | None
    files: int = 0
    bytes: int = 0
    problems: dict[str, str] = field(default_factory=dict)
    follows: dict[tuple[int, Cursor], Cursor] = field(default_factory=dict)

    def note_records(self) -> None:
        """The store's identity, claims, and what the survey found of commits and snapshots."""
        self.problems |= self.inventory.faults
        for info in (
            *self.inventory.commit_files.values(),
            *self.inventory.snapshot_files.values(),
        ):
            self.files += 1
            self.bytes += info.size
        for info in self.location.list(CLAIMS):
            if generation_of(info.name) is not None:
                self._note(info.name, partial(check_claim, self.location, info.name))
                self.bytes += info.size
        self._note(IDENTITY, self._check_identity)

    def read(self, files: dict[str, int]) -> None:
        """Read blocks and bases: bytes by name."""
        done, total = 0, sum(files.values())
        for name, size in sorted(files.items()):
            self._note(name, partial(self._read_one, name))
            done += size
            self.bytes += size
            if self.on_progress is not None:
                self.on_progress(done, total)

    def state_of(self, commit: Commit) -> PointState:
        """What the problems mean for one restore point."""
        faults = [
            Problem(name, self.problems[name]) for name in names_of(commit) if name in self.problems
        ]
        # A block that does not follow the one before it is whole, and no use in this chain.
        faults += [problem for chain in commit.shards for problem in self._out_of_order(chain)]
        damaged = {*self.problems, *(problem.name for problem in faults)}
        whole = not faults or self.inventory.chain_without(commit, damaged) is not None
        return PointState(commit.at, whole, tuple(faults))

    def _read_one(self, name: str) -> None:
        # Here, because blocks and bases are arrays, and numpy takes its time to import.
        from ps.store.base_file import BaseReader
        from ps.store.block_file import read_block

        shard, at = shard_of(name), cursor_of(name)
        if shard is None or at is None:
            raise CorruptFileError(name, "is no block or base by its name")
        if name.startswith(BLOCKS):
            self.follows[shard, at] = read_block(self.location, shard, at).follows
        else:
            BaseReader(self.location, shard, at).verify()

    def _check_identity(self) -> None:
        if read_identity(self.location) is None:
            raise FileMissingError(self.location.url, IDENTITY)

    def _note(self, name: str, check: Callable[[], object]) -> None:
        try:
            check()
        except CorruptFileError as error:
            self.problems[name] = error.fault
        except ForeignFileError as error:
            self.problems[name] = str(error).removeprefix(name).lstrip()
        except FileMissingError:
            return  # pruned since it was listed; where a restore point needs it, that is told
        self.files += 1

    def _out_of_order(self, chain: ShardChain) -> list[Problem]:
        found = []
        for before, at in zip((chain.base, *chain.blocks), chain.blocks, strict=False):
            follows = self.follows.get((chain.shard, at))
            if follows is None or follows == before or (before is None and follows.epoch == 0):
                continue
            stands = "nothing" if before is None else f"epoch {before.epoch}"
            found.append(
                Problem(
                    block_name(chain.shard, at),
                    f"follows epoch {follows.epoch} of generation {follows.generation}, and the "
                    f"restore point has it after {stands}",
                )
            )
        return found


def _files_of(commit: Commit, inventory: Inventory) -> dict[str, int]:
    """Bytes of the files of one restore point that are there, by name."""
    sizes: dict[str, int] = {}
    for chain in commit.shards:
        for at in chain.blocks:
            if (chain.shard, at) in inventory.blocks:
                sizes[block_name(chain.shard, at)] = inventory.blocks[chain.shard, at]
        if chain.base is not None and (chain.shard, chain.base) in inventory.bases:
            sizes[base_name(chain.shard, chain.base)] = inventory.bases[chain.shard, chain.base]
    return sizes


def _strangers(location: Location) -> list[str]:
    return [info.name for info in location.list() if not is_store_file(info.name)]
