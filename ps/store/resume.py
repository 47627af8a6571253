"""Where a run goes on from: the newest restore point that can be read whole, or the one asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ps.block import Cursor
from ps.errors import (
    CorruptFileError,
    FileMissingError,
    IncompatibleModelError,
    NoRestorePointError,
    SpecError,
)
from ps.shard import Shard
from ps.store.commit import ShardChain
from ps.store.description import describe, differences
from ps.store.patience import Patience
from ps.store.reshard import reshard_bases
from ps.store.restore import restore_shards

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ps.shard import ShardSpec
    from ps.store.catalog import Catalog
    from ps.store.commit import Commit
    from ps.store.description import ModelDescription
    from ps.store.location import Location

_SLOT_BITS = 48


@dataclass(frozen=True, slots=True)
class GoOnFrom:
    """What a run is to go on from. epoch: of a restore point; None: the newest that is whole.

    reset: tables, slots (TABLE.SLOT) and dense variables that begin afresh.
    """

    epoch: int | None = None
    reset: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Resumed:
    """Shards to go on with, as readers. commit: where they stand; None: at nothing.

    chains: how they are restored again. newest: the highest epoch there ever was.
    """

    shards: list[Shard]
    chains: tuple[ShardChain, ...] = ()
    newest: int = 0
    commit: Commit | None = None


class Restoring:
    """Reads shards out of a store, round what is damaged. One thread's own.

    say: told what takes long, and what is damaged. memory_bytes: for cutting shards anew.
    """

    def __init__(
        self, location: Location, catalog: Catalog, say: Callable[[str], None], memory_bytes: int
    ) -> None:
        self._location = location
        self._catalog = catalog
        self._say = say
        self._memory_bytes = memory_bytes

    def check(self, specs: Sequence[ShardSpec], go_on_from: GoOnFrom) -> None:
        """Refuse what resume() would refuse, without reading a model.

        Raises IncompatibleModelError, NoRestorePointError, StoreUnavailableError, ForeignFileError,
        SpecError where something is to begin afresh that neither the job nor the store has.
        """
        inventory = self._catalog.survey()
        known = _resettable(describe(specs))
        commit = None
        if inventory.commit_files or inventory.snapshot_files:
            commit = self._choose(go_on_from.epoch, set())
            known |= _resettable(commit.description)
        elif go_on_from.epoch is not None:
            raise self._no_point_yet()
        for name in go_on_from.reset:
            if name not in known:
                raise SpecError(
                    f"there is no {name!r} to begin afresh; there are {', '.join(sorted(known))}"
                )
        if commit is not None:
            self._check(commit, specs, go_on_from.reset)

    def resume(self, specs: Sequence[ShardSpec], go_on_from: GoOnFrom) -> Resumed:
        """The shards to go on with; new ones where the store holds no restore point.

        check() comes first: it refuses names to reset that mean nothing.

        A damaged file is got round where the store still has what it was made of; else an older
        restore point is taken, and that is said. Raises IncompatibleModelError, NoRestorePointError,
        SpecError, StoreUnavailableError, ForeignFileError.
        """
        inventory = self._catalog.survey()
        newest = self._catalog.newest_cursor()
        if not inventory.commit_files and not inventory.snapshot_files:
            if go_on_from.epoch is not None:
                raise self._no_point_yet()
            chains = tuple(ShardChain(spec.shard, None, ()) for spec in specs)
            return Resumed([Shard(spec) for spec in specs], chains, newest.epoch)
        for name, fault in inventory.faults.items():
            self._say(f"{name} is left out: {fault}")
        damaged: set[str] = set()
        while True:
            commit = self._choose(go_on_from.epoch, damaged)
            self._check(commit, specs, go_on_from.reset)
            try:
                return self._resume_from(commit, specs, newest, go_on_from.reset, damaged)
            except (CorruptFileError, FileMissingError) as error:
                self._say(f"restore point {commit.at.epoch}: {error}; looking for another way")
                damaged.add(error.name)

    def choose(
        self, specs: Sequence[ShardSpec], go_on_from: GoOnFrom, damaged: set[str], generation: int
    ) -> Resumed:
        """What resume() goes on from, without the shards, which are restored elsewhere.

        damaged: files that this was found of elsewhere. generation: the caller's, of bases that are
        written where the shards are to be others, or something is to begin afresh; whoever goes on
        needs a later one. commit: with the chains to go by. Raises what resume() raises.
        """
        self.check(specs, go_on_from)
        inventory = self._catalog.survey()
        newest = self._catalog.newest_cursor().epoch
        if not inventory.commit_files and not inventory.snapshot_files:
            return Resumed([], tuple(ShardChain(spec.shard, None, ()) for spec in specs), newest)
        while True:
            commit = self._choose(go_on_from.epoch, damaged)
            self._check(commit, specs, go_on_from.reset)
            if len(specs) == len(commit.shards) and not go_on_from.reset:
                return Resumed([], commit.shards, newest, commit)
            at = Cursor(newest + 1, generation)
            try:
                chains = self.cut_anew(commit, len(specs), at, go_on_from.reset)
            except (CorruptFileError, FileMissingError) as error:
                self._say(f"restore point {commit.at.epoch}: {error}; looking for another way")
                damaged.add(error.name)
            else:
                return Resumed([], chains, at.epoch, replace(commit, shards=chains))

    def restore(
        self, commit: Commit, specs: Sequence[ShardSpec], shards: int | None = None
    ) -> list[Shard]:
        """Shards of one restore point, as readers; specs: of the wanted ones of so many (None: all).

        Raises CorruptFileError and its like where there is no way round the damage, SpecError,
        StoreUnavailableError.
        """
        patience = Patience(f"restoring epoch {commit.at.epoch}", self._say)
        damaged: set[str] = set()
        way: Commit | None = commit
        while way is not None:
            try:
                return restore_shards(
                    self._location,
                    way,
                    specs,
                    shards=shards,
                    damaged=damaged,
                    on_progress=patience.note,
                )
            except (CorruptFileError, FileMissingError) as error:
                damaged.add(error.name)
                way = self._catalog.chain_without(commit, damaged)
                if way is None:
                    raise
                self._say(f"{error}; restoring without it")
        raise NoRestorePointError(f"restore point {commit.at.epoch} cannot be read whole")

    def _choose(self, epoch: int | None, damaged: set[str]) -> Commit:
        """The restore point to try, by a way round what is known to be damaged."""
        if epoch is not None:
            commit = self._catalog.read_epoch(epoch)
            found = self._catalog.chain_without(commit, damaged)
        else:
            found = self._catalog.newest_whole(damaged)
        if found is None:
            which = "no restore point" if epoch is None else f"restore point {epoch} not"
            raise NoRestorePointError(
                f"store {self._location.url}: {which} can be read whole; ps-admin snapshot verify "
                "shows what is damaged. To begin from nothing, give the job another store"
            )
        return found

    def _no_point_yet(self) -> NoRestorePointError:
        return NoRestorePointError(f"store {self._location.url} has no restore point yet")

    def _check(self, commit: Commit, specs: Sequence[ShardSpec], reset: Sequence[str]) -> None:
        found = differences(commit.description, describe(specs), reset)
        if found:
            raise IncompatibleModelError(self._location.url, found)

    def _resume_from(
        self,
        commit: Commit,
        specs: Sequence[ShardSpec],
        newest: Cursor,
        reset: Sequence[str],
        damaged: set[str],
    ) -> Resumed:
        afresh = [name for name in reset if not _is_slot(name)]
        chains, stands = commit.shards, newest.epoch
        if len(specs) != len(commit.shards) or afresh:
            # The chains there are would bring back what is left behind, or other shards.
            stands = newest.epoch + 1
            chains = self.cut_anew(commit, len(specs), Cursor(stands, newest.generation), afresh)
        patience = Patience(f"restoring epoch {commit.at.epoch}", self._say)
        shards = restore_shards(
            self._location,
            replace(commit, shards=chains),
            specs,
            damaged=damaged,
            on_progress=patience.note,
        )
        for name in filter(_is_slot, reset):
            _drop_slot(shards, name)
        return Resumed(shards, chains, stands, commit)

    def cut_anew(
        self, commit: Commit, shards: int, at: Cursor, leave_out: Sequence[str] = ()
    ) -> tuple[ShardChain, ...]:
        """Chains of another set of shards that hold what the commit does: each a base of its own.

        at: of the bases; an epoch of the caller's own generation that it has not sealed. Whoever goes
        on from there needs a later generation. Raises SpecError, StoreError.
        """
        patience = Patience(f"cutting the model into {shards} shard(s)", self._say)
        chains, _ = reshard_bases(
            self._location,
            commit,
            shards,
            at,
            memory_bytes=self._memory_bytes,
            leave_out=leave_out,
            on_progress=patience.note,
        )
        return chains


def _resettable(description: ModelDescription) -> set[str]:
    """Every table, slot (TABLE.SLOT) and dense variable."""
    slots = {f"{name}.{slot}" for name, table in description.tables.items() for slot in table.slots}
    return {*description.tables, *slots, *description.dense}


def _is_slot(name: str) -> bool:
    return name.rpartition(".")[2].isdigit() and "." in name


def _drop_slot(shards: Sequence[Shard], name: str) -> None:
    """Remove every row of TABLE.SLOT."""
    table_name, _, slot = name.rpartition(".")
    for shard in shards:
        if any(spec.name == table_name for spec in shard.spec.tables):
            table = shard.table(table_name)
            fids = table.export().fids
            table.remove(fids[fids >> np.uint64(_SLOT_BITS) == int(slot)])
