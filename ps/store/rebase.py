"""Chains streamed into a new base, in bounded memory: what compaction and resharding both are.

The blocks' changes are gathered by fid (ps.store.changes), then the sections of the old bases go by
one after another: rows that changed are overwritten in place, those that left are dropped, new ones
are appended, and a section that outgrew its size is cut by buckets. Where the changes do not fit
the memory given, it takes several rounds, each over some of the tables and buckets: every round
reads the blocks again, and the base is still written once, from its beginning to its end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from ps.errors import ShapeError
from ps.store.base_format import row_bytes
from ps.store.base_writer import BaseWriter
from ps.store.chains import ChainReader, folded
from ps.store.changes import ChangeSet, entry_bytes
from ps.store.left_out import NOTHING, LeftOut
from ps.store.overlay import Overlay
from ps.store.ownership import BucketRange
from ps.store.rows import BUCKETS, buckets_of, no_rows, pick
from ps.store.sections import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ps.arrays import I64
    from ps.block import Block, Cursor, TableDelta
    from ps.store.location import Location

Shapes = dict[str, tuple[int, int]]


@dataclass(slots=True)
class Source:
    """One chain, of which buckets [first_bucket, end_bucket) are taken; head: once it was read."""

    chain: ChainReader
    first_bucket: int = 0
    end_bucket: int = BUCKETS
    head: Block | None = None
    changes: dict[str, ChangeSet] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A section to be written: from a source's buckets, out of the old section that begins at
    old_first, whole or a part of it. changed: how many fids changed in it, at most.
    """

    table: str
    source: int
    old_first: int
    is_whole: bool
    first_bucket: int
    end_bucket: int
    changed: int

    @property
    def buckets(self) -> BucketRange:
        """Its range."""
        return BucketRange(self.first_bucket, self.end_bucket)


def rebase(
    location: Location,
    sources: Sequence[Source],
    shard: int,
    at: Cursor,
    head: Callable[[Sequence[Source]], Block],
    *,
    memory_bytes: int,
    left_out: LeftOut = NOTHING,
    on_section: Callable[[int], None],
) -> int:
    """Write the base of `shard` at `at` from parts of chains, in order of their buckets; its bytes.

    head: makes the new head once the sources' are known. memory_bytes: for the blocks' changes;
    what is read and written goes by in sections, and one block at a time is in memory besides.
    left_out: what is not taken over. on_section: called with the bytes written so far.

    Raises what reading the chains raises, ShapeError where a table changed its shape on the way,
    StoreUnavailableError; then nothing has been written.
    """
    at_once = sum(source.chain.block_bytes() for source in sources) <= memory_bytes
    shapes = _survey(sources, left_out, keep_rows=at_once)
    pieces = list(_plan(sources, shapes))
    with BaseWriter(location, shard, at) as writer:
        written = ""
        for window in [pieces] if at_once else _windows(pieces, shapes, memory_bytes):
            if not at_once:
                _gather(sources, shapes, window, left_out)
            for (table, number), group in groupby(window, lambda p: (p.table, p.source)):
                if table != written:
                    writer.begin_table(table, *shapes[table])
                    written = table
                _write(
                    writer, sources[number], table, shapes[table], list(group), left_out, on_section
                )
        return writer.finish(head(sources))


def _survey(sources: Sequence[Source], left_out: LeftOut, *, keep_rows: bool) -> Shapes:
    """Read every block once: heads, the shapes of tables, and what changed, with its rows or not."""
    shapes: Shapes = {}
    for source in sources:
        base = source.chain.base
        source.head = None if base is None else base.head
        for name, table in {} if base is None else base.tables.items():
            if name not in left_out:
                _note_shape(shapes, name, (table.width, table.state_width))
        for block in source.chain.blocks():
            source.head = folded(source.head, block)
            for name, rows in left_out.block(block).tables.items():
                shape = (rows.weights.shape[1], rows.state.shape[1])
                _note_shape(shapes, name, shape)
                if name not in source.changes:
                    width, state_width = shape if keep_rows else (0, 0)
                    source.changes[name] = ChangeSet(
                        width, state_width, source.first_bucket, source.end_bucket
                    )
                source.changes[name].absorb(rows)
    return dict(sorted(shapes.items()))


def _note_shape(shapes: Shapes, table: str, shape: tuple[int, int]) -> None:
    known = shapes.setdefault(table, shape)
    if known != shape:
        raise ShapeError(
            f"table {table!r} has rows of {known[0]} weights and {known[1]} floats of state, and "
            f"from some block on of {shape[0]} and {shape[1]}; a table that begins afresh needs a "
            "chain that begins with a base of its own"
        )


def _plan(sources: Sequence[Source], shapes: Shapes) -> Iterator[_Piece]:
    """The sections to be written, in order: tables by name, then buckets."""
    for table, shape in shapes.items():
        for number, source in enumerate(sources):
            base = source.chain.base
            changed = np.zeros(BUCKETS + 1, dtype=np.int64)
            if table in source.changes:
                changed = source.changes[table].by_bucket()[1]
            old = [(0, BUCKETS, 0)]
            if base is not None and table in base.tables:
                old = [(s.first_bucket, s.end_bucket, s.rows) for s in base.tables[table].sections]
            for old_first, old_end, rows in old:
                first = max(old_first, source.first_bucket)
                end = min(old_end, source.end_bucket)
                if first >= end:
                    continue
                expected = np.diff(changed).astype(np.float64)
                # Where in a section rows are, its reader will see; hashing spreads them evenly.
                expected += rows / (old_end - old_first)
                ends = cut(expected, row_bytes(*shape), first, end)
                is_whole = (first, ends[0]) == (old_first, old_end)
                for begin, piece_end in zip([first, *ends], ends, strict=False):
                    fids = int(changed[piece_end] - changed[begin])
                    yield _Piece(table, number, old_first, is_whole, begin, piece_end, fids)


def _windows(pieces: list[_Piece], shapes: Shapes, memory_bytes: int) -> Iterator[list[_Piece]]:
    """Consecutive pieces whose changes fit the memory together; at least one at a time."""
    window: list[_Piece] = []
    held = 0
    for piece in pieces:
        needed = piece.changed * entry_bytes(*shapes[piece.table])
        if window and held + needed > memory_bytes:
            yield window
            window, held = [], 0
        window.append(piece)
        held += needed
    if window:
        yield window


def _gather(
    sources: Sequence[Source], shapes: Shapes, window: list[_Piece], left_out: LeftOut
) -> None:
    """Read the changes that the pieces of a window need, with their rows."""
    for source in sources:
        source.changes = {}
    for (table, number), group in groupby(window, lambda piece: (piece.table, piece.source)):
        run = list(group)
        sources[number].changes[table] = ChangeSet(
            *shapes[table], run[0].first_bucket, run[-1].end_bucket
        )
    for source in sources:
        if any(piece.changed for piece in window):
            for block in source.chain.blocks() if source.changes else ():
                for table, changes in source.changes.items():
                    if table in block.tables:
                        changes.absorb(left_out.rows(table, block.tables[table]))


def _write(
    writer: BaseWriter,
    source: Source,
    table: str,
    shape: tuple[int, int],
    pieces: list[_Piece],
    left_out: LeftOut,
    on_section: Callable[[int], None],
) -> None:
    """Write consecutive pieces of one table out of one source."""
    first, end = pieces[0].first_bucket, pieces[-1].end_bucket
    overlay = Overlay(source.changes.get(table) or ChangeSet(*shape, first, end))
    base = source.chain.base
    old = iter(() if base is None else base.sections(first, end, {table}))
    loaded = next(old, None)
    for old_first, group in groupby(pieces, lambda piece: piece.old_first):
        here = None
        if loaded is not None and loaded.section.first_bucket == old_first:
            here = loaded
        old_rows = no_rows(*shape) if here is None else left_out.rows(table, here.rows)
        by_bucket = None
        for piece in group:
            is_same = (
                here is not None and old_rows is here.rows and not overlay.changed(piece.buckets)
            )
            if here is not None and is_same and piece.is_whole:
                writer.copy_section(piece.end_bucket, here)
            elif here is None or piece.is_whole:
                writer.write_section(piece.end_bucket, *overlay.onto(old_rows, piece.buckets))
            else:
                by_bucket = by_bucket or _by_bucket(old_rows)
                order, starts = by_bucket
                places = order[starts[piece.first_bucket] : starts[piece.end_bucket]]
                part = pick(old_rows, places, places[:0])
                writer.write_section(piece.end_bucket, *overlay.onto(part, piece.buckets))
            on_section(writer.written_bytes)
        if here is not None:
            loaded = next(old, None)


def _by_bucket(rows: TableDelta) -> tuple[I64, I64]:
    """The rows in order of buckets, int64[n], and where each of the buckets begins, int64[1025]."""
    buckets = buckets_of(rows.fids)
    starts = np.zeros(BUCKETS + 1, dtype=np.int64)
    np.cumsum(np.bincount(buckets, minlength=BUCKETS), out=starts[1:])
    return np.argsort(buckets, kind="stable"), starts
