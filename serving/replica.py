"""The replica: the weights of a model, kept current by blocks while they are read."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ps.errors import BlockGapError, ForeignBlockError, UnknownTableError
from serving.errors import NotReadyError
from serving.part import Part
from serving.staleness import StalenessSummary, StalenessWindow
from serving.version import ModelVersion, ShardVersion

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    import numpy.typing as npt

    from ps.arrays import F32, U64
    from ps.block import Block
    from ps.clock import Clock
    from serving.store import StoreFactory

    # fids uint64[n] -> the number of the shard that has each, integers[n].
    Owner = Callable[[U64], npt.NDArray[np.integer[Any]]]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one forward pass reads.

    rows: by table, float32[n, width], aligned with the fids asked for. dense: by name, of one version
    and never changed. unknown: by table, how many of the fids have no row.
    """

    rows: Mapping[str, F32]
    dense: Mapping[str, F32]
    unknown: Mapping[str, int]
    version: ModelVersion


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """A replica at a glance. staleness_s is None until it is ready; staleness is over past blocks."""

    ready: bool
    version: ModelVersion
    staleness_s: float | None
    staleness: StalenessSummary
    rows: int
    blocks_applied: int
    blocks_ignored: int
    bases_applied: int


@dataclass(frozen=True, slots=True)
class _Shard:
    """What is published of one shard; replaced as a whole, so a reader never sees a mixture."""

    part: Part
    dense: Mapping[str, F32]
    version: ShardVersion


@dataclass(frozen=True, slots=True)
class LaidOut:
    """A whole set of shards that is not served yet. stores: how theirs are made."""

    shards: tuple[_Shard, ...]
    stores: Mapping[str, StoreFactory]


@dataclass(frozen=True, slots=True)
class _Published:
    """What readers see; replaced as a whole once a block is applied."""

    shards: tuple[_Shard | None, ...]
    dense: Mapping[str, F32]
    version: ModelVersion
    ready: bool
    owner: Owner | None


class Replica:
    """Weights only: tables and dense variables, read while blocks are applied.

    Rows become visible chunk by chunk, dense variables and the version at the end of each block. A
    base block is laid out beside what is served and takes its place in one step. `apply` may be
    called from any thread, one block at a time; `read` from any number of threads.
    """

    def __init__(
        self,
        model: str,
        tables: Mapping[str, StoreFactory],
        clock: Clock,
        *,
        shards: int = 1,
        owner: Owner | None = None,
        dense: Collection[str] = (),
        staleness_window: int = 4_096,
    ) -> None:
        """Start empty.

        model: what blocks must be of, as ShardSpec.model. tables: how to make each table's store. owner: fids uint64[n] -> the shard of each, integers[n]
        (lambda fids: shard_map[bucket_of(fids)], of ps.buckets); needed with several shards. dense: the variables the model reads, without which the
        replica is not ready.
        """
        _check_owner(shards, owner)
        self.model = model
        self._tables = dict(tables)
        self._clock = clock
        self._needed = frozenset(dense)
        self._window = StalenessWindow(staleness_window)
        self._applying = threading.Lock()
        self._applied = 0
        self._ignored = 0
        self._bases = 0
        self._ready = threading.Event()
        self._when_ready: list[Callable[[], None]] = []
        self._published = _Published(
            (None,) * shards, {}, ModelVersion(model), ready=False, owner=owner
        )

    @property
    def shards(self) -> int:
        """How many shards the model is cut into."""
        return len(self._published.shards)

    @property
    def ready(self) -> bool:
        """Whether every shard and every dense variable has arrived. Once true it stays so."""
        return self._published.ready

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait for `ready`; False where the time ran out first."""
        return self._ready.wait(timeout_s)

    def when_ready(self, callback: Callable[[], None]) -> None:
        """Call back once, when the replica becomes ready; at once if it is."""
        with self._applying:
            if not self._published.ready:
                self._when_ready.append(callback)
                return
        callback()

    def version(self) -> ModelVersion:
        """The version of each shard that has one."""
        return self._published.version

    def cursor(self, shard: int) -> ShardVersion | None:
        """What was last applied of a shard; None before its first block."""
        published = self._published.shards[shard]
        return None if published is None else published.version

    def staleness_s(self) -> float | None:
        """How long ago what is served was sealed, by the shard furthest behind; None until ready."""
        published = self._published
        return published.version.staleness_s(self._clock.now_us()) if published.ready else None

    def status(self) -> ReplicaStatus:
        """Counters, sizes and freshness."""
        published = self._published
        return ReplicaStatus(
            ready=published.ready,
            version=published.version,
            staleness_s=self.staleness_s(),
            staleness=self._window.summary(),
            rows=sum(shard.part.rows() for shard in published.shards if shard is not None),
            blocks_applied=self._applied,
            blocks_ignored=self._ignored,
            bases_applied=self._bases,
        )

    def apply(self, block: Block) -> bool:
        """Apply a block, or ignore one that was applied before; whether it was applied.

        Raises ForeignBlockError for a block of another model or shard, or an ordinary one of another
        generation; BlockGapError where blocks between are missing; ShapeError for arrays that do not
        fit. After the first two a base block puts things right. If the store fails midway (full), the
        cursor stays, and the block may be applied again.
        """
        with self._applying:
            if not self._is_next(block):
                self._ignored += 1
                return False
            current = self._published.shards[block.shard]
            if block.base or current is None:
                part, dense = Part(self._tables), {}
            else:
                part, dense = current.part, dict(current.dense)
            part.check(block)
            for table, delta in block.tables.items():
                part.write(table, delta)
            part.advance(block.event_ts_us)
            dense.update((name, delta.weights) for name, delta in block.dense.items())
            became_ready = self._publish(block, part, dense)
        for callback in became_ready:
            callback()
        return True

    def reshard(
        self,
        bases: Iterable[Block],
        owner: Owner | None = None,
        *,
        tables: Mapping[str, StoreFactory] | None = None,
    ) -> None:
        """Go on with another set of shards, whose base blocks these are, by number.

        They are laid out beside what is served and take its place in one step. Raises
        ForeignBlockError, ShapeError; then what was served is served on.
        """
        self.switch(self.lay_out(bases, tables=tables), owner)

    def lay_out(
        self, bases: Iterable[Block], *, tables: Mapping[str, StoreFactory] | None = None
    ) -> LaidOut:
        """Another set of shards, beside what is served; switch() takes it.

        bases: one for each, by number, taken one at a time. tables: how their stores are made where
        that differs. Blocks may be applied meanwhile. Raises ForeignBlockError, ShapeError.
        """
        stores = self._tables if tables is None else dict(tables)
        shards = []
        for number, base in enumerate(bases):
            if (base.model, base.shard, base.base) != (self.model, number, True):
                raise ForeignBlockError(
                    f"shard {base.shard}, epoch {base.epoch} of model {base.model!r} is not the "
                    f"base of shard {number} of {self.model!r}"
                )
            part = Part(stores)
            part.check(base)
            for table, delta in base.tables.items():
                part.write(table, delta)
            part.advance(base.event_ts_us)
            dense = {name: delta.weights for name, delta in base.dense.items()}
            shards.append(_Shard(part, dense, _version(base)))
            del base  # before the next is read: they may be large
        return LaidOut(tuple(shards), stores)

    def switch(self, laid_out: LaidOut, owner: Owner | None = None) -> None:
        """Serve what was laid out, from one moment to the next."""
        _check_owner(len(laid_out.shards), owner)
        with self._applying:
            self._tables = dict(laid_out.stores)
            became_ready = self._show(laid_out.shards, owner)
            self._bases += len(laid_out.shards)
        for callback in became_ready:
            callback()

    def read(self, fids: Mapping[str, U64]) -> Reading:
        """Rows by table for fids uint64[n], and all dense variables.

        Raises NotReadyError, UnknownTableError.
        """
        published = self._published
        if not published.ready:
            raise NotReadyError(
                f"the replica of {self.model!r} is still waiting for its first blocks; try again soon"
            )
        rows: dict[str, F32] = {}
        unknown: dict[str, int] = {}
        for table, wanted in fids.items():
            if table not in self._tables:
                raise UnknownTableError(table, sorted(self._tables))
            rows[table], unknown[table] = self._gather(published, table, wanted)
        return Reading(rows, published.dense, unknown, published.version)

    def _is_next(self, block: Block) -> bool:
        """Whether to apply (True) or to ignore (False) a block; raises where neither will do."""
        where = f"shard {block.shard}, epoch {block.epoch}"
        if block.model != self.model:
            raise ForeignBlockError(f"{where}: of model {block.model!r}, not {self.model!r}")
        if not 0 <= block.shard < self.shards:
            raise ForeignBlockError(f"{where}: this replica has shards 0 to {self.shards - 1}")
        cursor = self.cursor(block.shard)
        if cursor is None:
            # A shard's very first block needs no base.
            if not block.base and block.follows.epoch != 0:
                raise BlockGapError(block.shard, 1, block.epoch)
            return True
        same = block.generation == cursor.generation
        if same and block.epoch <= cursor.epoch:
            return False
        if block.base and block.generation >= cursor.generation:
            return True
        if block.follows == (cursor.epoch, cursor.generation):
            return True
        if same:
            raise BlockGapError(block.shard, cursor.epoch + 1, block.follows.epoch + 1)
        # A restored shard may be younger than what is served: only its base says what it holds.
        raise ForeignBlockError(
            f"{where}: of generation {block.generation}, the replica is at {cursor.generation}; "
            "start again from a base block of the newest generation"
        )

    def _publish(
        self, block: Block, part: Part, dense: Mapping[str, F32]
    ) -> list[Callable[[], None]]:
        """Let readers see what was applied; the callbacks that are due if that made it ready."""
        before = self._published
        version = _version(block)
        shards = tuple(
            _Shard(part, dense, version) if number == block.shard else shard
            for number, shard in enumerate(before.shards)
        )
        due = self._show(shards, before.owner)
        self._applied += 1
        self._bases += block.base
        if block.ingest_us is not None and not block.base:
            self._window.record((self._clock.now_us() - block.ingest_us) / 1e6)
        return due

    def _show(
        self, shards: tuple[_Shard | None, ...], owner: Owner | None
    ) -> list[Callable[[], None]]:
        """Replace what readers see, in one step; the callbacks that are due if that made it ready."""
        before = self._published
        present = [shard for shard in shards if shard is not None]
        merged = {name: weights for shard in present for name, weights in shard.dense.items()}
        after = _Published(
            shards=shards,
            dense=merged,
            version=replace(before.version, shards=tuple(shard.version for shard in present)),
            ready=before.ready or (len(present) == len(shards) and self._needed <= merged.keys()),
            owner=owner,
        )
        self._published = after
        due: list[Callable[[], None]] = []
        if after.ready and not before.ready:
            self._ready.set()
            due, self._when_ready = self._when_ready, due
        return due

    def _gather(self, published: _Published, table: str, fids: U64) -> tuple[F32, int]:
        if len(published.shards) == 1 or published.owner is None:
            return _part(published, 0).read(table, fids)
        owners = published.owner(fids)
        rows: F32 | None = None
        missing = 0
        for shard in range(len(published.shards)):
            here = np.flatnonzero(owners == shard)
            found, absent = _part(published, shard).read(table, fids[here])
            if rows is None:
                rows = np.empty((len(fids), found.shape[1]), dtype=np.float32)
            rows[here] = found
            missing += absent
        assert rows is not None  # noqa: S101  # there is at least one shard
        return rows, missing


def _check_owner(shards: int, owner: Owner | None) -> None:
    if shards > 1 and owner is None:
        raise ValueError("a replica of several shards needs to know the owner of a fid")


def _part(published: _Published, shard: int) -> Part:
    found = published.shards[shard]
    if found is None:
        raise NotReadyError(f"shard {shard} has sent no block yet")
    return found.part


def _version(block: Block) -> ShardVersion:
    return ShardVersion(
        block.shard, block.generation, block.epoch, block.event_ts_us, block.sealed_us
    )
