"""Restoring: from a commit's files to shards that stand where it says, of any number."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ps.errors import CorruptFileError, FileMissingError, ForeignFileError
from ps.shard import Shard
from ps.store.block_file import read_block
from ps.store.chains import ChainReader, folded
from ps.store.combine import check_aligned, combined_head
from ps.store.left_out import LeftOut
from ps.store.names import base_name, block_name
from ps.store.ownership import BucketRange, bucket_ranges
from ps.store.rows import in_buckets

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from ps.arrays import U64
    from ps.block import Block, Cursor
    from ps.shard import ShardSpec
    from ps.store.commit import Commit
    from ps.store.location import Location

    OnProgress = Callable[[int, int], None]


def restore_shards(
    location: Location,
    commit: Commit,
    specs: Sequence[ShardSpec],
    *,
    shards: int | None = None,
    reset: Collection[str] = (),
    damaged: set[str] | None = None,
    on_progress: OnProgress | None = None,
) -> list[Shard]:
    """The shards of a restore point, as readers; promote() makes writers of them.

    specs: of the shards wanted, judged compatible with the commit's description; their fingerprint may
    be another than the files'. shards: how many the model has in all; None: as many as specs. Where
    that is as many as the commit has, every shard stands at its chain's cursor, else at the commit's.
    What the commit does not have starts afresh, and so does what `reset` names of it: tables, slots
    (TABLE.SLOT) and dense variables. Files written before still have that, so go on from new bases
    (ps.store.reshard, leave_out) where there is any. on_progress: called with the bytes read so far, and of how many.

    damaged: names of files known to be damaged or missing, which are not read again; what is found
    here is added, so that the caller can look for another way (Catalog.chain_without) and try again.

    Memory: the shards, one block, two sections. Raises CorruptFileError, FileMissingError,
    ForeignFileError, each naming the file; StoreUnavailableError; SpecError where the commit's shards
    stand at different positions and another number is asked for; ShapeError, UnknownTableError,
    TableFullError where the specs do not fit after all.
    """
    damaged = set() if damaged is None else damaged
    left_out = LeftOut(reset)
    count = len(specs) if shards is None else shards
    try:
        _refuse(damaged, commit)
        if count != len(commit.shards):
            return _Resharding(location, commit, specs, count, left_out, on_progress).restore()
        chains = {chain.shard: chain for chain in commit.shards}
        models = {commit.at.generation: commit.model}
        readers = [ChainReader(location, chains[spec.shard], models) for spec in specs]
        progress = _Progress(readers, on_progress)
        return [
            _as_it_was(reader, spec, left_out, progress)
            for reader, spec in zip(readers, specs, strict=True)
        ]
    except (CorruptFileError, FileMissingError, ForeignFileError) as error:
        damaged.add(error.name)
        raise


def changed_fids(location: Location, blocks: Iterable[tuple[int, Cursor]]) -> dict[str, U64]:
    """The fids, by table, that any of those blocks (shard, cursor) changed or removed: uint64[n],
    ascending. ps.store.ownership.by_owner says whose they are.

    Memory: the fids of one table twice over, and one block. Raises what read_block raises.
    """
    found: dict[str, U64] = {}
    for shard, at in blocks:
        for name, rows in read_block(location, shard, at).tables.items():
            before = found.get(name, np.empty(0, dtype=np.uint64))
            found[name] = np.unique(np.concatenate([before, rows.fids, rows.removed]))
    return found


def _refuse(damaged: set[str], commit: Commit) -> None:
    """Raise CorruptFileError where the commit needs a file that is known to be damaged."""
    for chain in commit.shards:
        names = [block_name(chain.shard, at) for at in chain.blocks]
        if chain.base is not None:
            names.append(base_name(chain.shard, chain.base))
        for name in names:
            if name in damaged:
                raise CorruptFileError(name, "was found to be damaged before")


def _as_it_was(
    chain: ChainReader, spec: ShardSpec, left_out: LeftOut, progress: _Progress
) -> Shard:
    """One shard from its own chain."""
    shard = Shard(spec)
    base = chain.base
    if base is not None:
        wanted = [name for name in base.tables if name not in left_out]
        rows = {name: base.tables[name].rows for name in wanted}
        shard.reserve(rows)
        with ThreadPoolExecutor(1, thread_name_prefix="commit-memory") as thread:
            committed = thread.submit(shard.commit_memory, rows)
            for loaded in base.sections(tables=wanted):
                shard.load(loaded.table, left_out.rows(loaded.table, loaded.rows), fresh=True)
                progress.add(loaded.section.size_bytes)
            committed.result()
        shard.adopt(replace(left_out.block(base.head), model=spec.model))
    for block, size_bytes in chain.sized_blocks():
        shard.apply(replace(left_out.block(block), model=spec.model))
        progress.add(size_bytes)
    return shard


class _Resharding:
    """Other shards than the commit has: every row goes to the shard that owns its bucket now."""

    def __init__(
        self,
        location: Location,
        commit: Commit,
        specs: Sequence[ShardSpec],
        count: int,
        left_out: LeftOut,
        on_progress: OnProgress | None,
    ) -> None:
        check_aligned(commit)
        self._commit = commit
        self._left_out = left_out
        ranges = bucket_ranges(count)
        self._shards = [(Shard(spec), ranges[spec.shard]) for spec in specs]
        models = {commit.at.generation: commit.model}
        self._chains = [
            (ChainReader(location, chain, models), old)
            for chain, old in zip(commit.shards, bucket_ranges(len(commit.shards)), strict=True)
        ]
        self._progress = _Progress([chain for chain, _ in self._chains], on_progress)

    def restore(self) -> list[Shard]:
        """The shards, at the commit's cursor."""
        self._reserve()
        heads: list[tuple[Block, BucketRange]] = []
        for chain, old in self._chains:
            head = self._take(chain)
            if head is not None:
                heads.append((self._left_out.block(head), old))
        for shard, own in self._shards if heads else ():
            names = {variable.name for variable in shard.spec.dense}
            head = combined_head(
                [head for head, _ in heads],
                shard.spec.shard,
                self._commit.at,
                self._commit.positions,
                owns_dense=names.__contains__,
                filters_of=[head for head, old in heads if old.touches(own)],
            )
            shard.adopt(replace(head, model=shard.spec.model))
        return [shard for shard, _ in self._shards]

    def _reserve(self) -> None:
        """Room for the rows of the bases, as hashing spreads them over the buckets."""
        for shard, own in self._shards:
            rows: dict[str, float] = {}
            for chain, _ in self._chains:
                for name, table in {} if chain.base is None else chain.base.tables.items():
                    if name not in self._left_out:
                        rows[name] = rows.get(name, 0.0) + table.rows_between(*own)
            shard.reserve({name: int(n) for name, n in rows.items()})

    def _take(self, chain: ChainReader) -> Block | None:
        """Hand out the rows of one chain; its head."""
        head = None
        if chain.base is not None:
            head = chain.base.head
            wanted = [name for name in chain.base.tables if name not in self._left_out]
            first = min((own.first for _, own in self._shards), default=0)
            end = max((own.end for _, own in self._shards), default=0)
            for loaded in chain.base.sections(first, end, wanted):
                here = BucketRange(loaded.section.first_bucket, loaded.section.end_bucket)
                for shard, own in self._shards:
                    if own.touches(here):
                        is_part = here.first < own.first or here.end > own.end
                        rows = self._left_out.rows(loaded.table, loaded.rows)
                        rows = in_buckets(rows, *own) if is_part else rows
                        shard.load(loaded.table, rows, fresh=True)
                self._progress.add(loaded.section.size_bytes)
        for block, size_bytes in chain.sized_blocks():
            head = folded(head, block)
            for name, rows in self._left_out.block(block).tables.items():
                for shard, own in self._shards:
                    shard.load(name, in_buckets(rows, *own))
            self._progress.add(size_bytes)
        return head


class _Progress:
    """Bytes read, of how many."""

    def __init__(self, chains: Iterable[ChainReader], on_progress: OnProgress | None) -> None:
        self._on_progress = on_progress
        self._done = 0
        self._total = 0 if on_progress is None else sum(chain.size_bytes() for chain in chains)

    def add(self, size_bytes: int) -> None:
        if self._on_progress is not None:
            self._done += size_bytes
            self._on_progress(self._done, max(self._done, self._total))
