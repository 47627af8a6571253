"""Commits as bytes: a record (ps.store.envelope) whose fields stand in the order of the dataclass."""

from __future__ import annotations

from itertools import repeat
from operator import itemgetter, lt

from ps.block import Cursor
from ps.store.commit import Commit, ShardChain
from ps.store.description import DenseDescription, ModelDescription, TableDescription
from ps.store.envelope import Kind, open_record, seal_record
from ps.store.fields import Fields
from ps.store.names import cursor_of

# More than any chain has, and few enough to hold whatever a file claims.
_MOST_BLOCKS = 1 << 20


def encode_commit(commit: Commit) -> bytes:
    """The commit's bytes; equal commits give equal bytes."""
    return seal_record(Kind.COMMIT, commit_fields(commit))


def decode_commit(data: bytes, name: str) -> Commit:
    """The commit in `data`, read from the file of that name.

    Raises CorruptFileError where it is damaged, makes no sense, or is another commit than the name
    says; ForeignFileError where it is of another version.
    """
    commit = read_commit(open_record(Kind.COMMIT, data, name), name)
    if cursor_of(name) != commit.at:
        raise Fields(name, [], "").malformed(
            f"holds the restore point of epoch {commit.at.epoch}, generation {commit.at.generation}"
        )
    return commit


def commit_fields(commit: Commit) -> list[object]:
    """A commit as lists, texts and numbers."""
    return [
        *commit.at,
        commit.model,
        _description_fields(commit.description),
        [
            [
                chain.shard,
                None if chain.base is None else list(chain.base),
                _runs(chain.blocks),
                sorted(chain.positions.items()),
            ]
            for chain in commit.shards
        ],
        sorted(commit.positions.items()),
        commit.event_ts_us,
        commit.created_us,
        commit.ingest_us,
        commit.bytes_written,
        sorted(commit.rows.items()),
        commit.aligned,
        sorted(commit.skips.items()),
        commit.worker,
    ]


def read_commit(payload: object, name: str) -> Commit:
    """What commit_fields() returned. Raises CorruptFileError."""
    fields = Fields(name, payload, "commit", 14)
    return Commit(
        at=fields.cursor(),
        model=fields.text(),
        description=_read_description(fields.inner("description", 3)),
        shards=_read_chains(fields),
        positions=_read_counts(fields, "position"),
        event_ts_us=fields.time_us(),
        created_us=fields.time_us(),
        ingest_us=fields.optional_time_us(),
        bytes_written=fields.integer(),
        rows=_read_counts(fields, "rows"),
        aligned=fields.flag(),
        skips={
            partition: _read_ranges(entry) for partition, entry in fields.named("skipped range", 2)
        },
        worker=fields.octets(),
    )


def _description_fields(description: ModelDescription) -> list[object]:
    return [
        description.seed,
        [
            [name, t.width, t.state_width, t.optimizer, t.initializer, sorted(t.slots.items())]
            for name, t in sorted(description.tables.items())
        ],
        [
            [name, list(variable.shape), variable.state_size, variable.optimizer]
            for name, variable in sorted(description.dense.items())
        ],
    ]


def _read_description(fields: Fields) -> ModelDescription:
    return ModelDescription(
        seed=fields.integer(least=-(1 << 63), most=(1 << 64) - 1),
        tables={
            name: TableDescription(
                width=table.integer(),
                state_width=table.integer(),
                optimizer=table.text(),
                initializer=table.text(),
                slots={slot.integer(): slot.text() for slot in table.entries("slot", 2)},
            )
            for name, table in fields.named("table", 6)
        },
        dense={
            name: DenseDescription(
                shape=_read_shape(variable.inner("shape")),
                state_size=variable.integer(),
                optimizer=variable.text(),
            )
            for name, variable in fields.named("dense variable", 4)
        },
    )


def _read_shape(extents: Fields) -> tuple[int, ...]:
    return tuple(extents.integer() for _ in range(extents.length))


def _read_chains(fields: Fields) -> tuple[ShardChain, ...]:
    chains: list[ShardChain] = []
    for entry in fields.entries("chain", 4):
        shard = entry.integer()
        if shard != len(chains):
            raise fields.malformed(f"lists shard {shard} as number {len(chains)}")
        base = entry.optional_cursor()
        blocks = _read_runs(entry)
        epochs = list(map(itemgetter(0), (base or Cursor(-1, 0), *blocks)))
        if not all(map(lt, epochs, epochs[1:])):
            raise fields.malformed(f"lists epochs of shard {shard} that do not rise")
        chains.append(ShardChain(shard, base, blocks, _read_counts(entry, "position")))
    if not chains:
        raise fields.malformed("has no shards")
    return tuple(chains)


def _runs(cursors: tuple[Cursor, ...]) -> list[list[int]]:
    """Cursors as runs of [first epoch, generation, how many]: a chain of hundreds is mostly one."""
    runs: list[list[int]] = []
    for epoch, generation in cursors:
        if runs and runs[-1][1] == generation and epoch == runs[-1][0] + runs[-1][2]:
            runs[-1][2] += 1
        else:
            runs.append([epoch, generation, 1])
    return runs


def _read_runs(fields: Fields) -> tuple[Cursor, ...]:
    cursors: list[Cursor] = []
    for run in fields.entries("run of blocks", 3):
        epoch, generation, count = run.integer(), run.integer(), run.integer(1, _MOST_BLOCKS)
        if len(cursors) + count > _MOST_BLOCKS:
            raise run.malformed(f"makes a chain of more than {_MOST_BLOCKS:,}")
        # What Cursor(epoch, generation) does, without a call of Python's for each.
        pairs = zip(range(epoch, epoch + count), repeat(generation), strict=False)
        cursors += map(tuple.__new__, repeat(Cursor), pairs)
    return tuple(cursors)


def _read_counts(fields: Fields, what: str) -> dict[str, int]:
    return {name: entry.integer() for name, entry in fields.named(what, 2)}


def _read_ranges(entry: Fields) -> tuple[tuple[int, int], ...]:
    ranges = []
    for pair in entry.entries("range", 2):
        begin, end = pair.integer(), pair.integer()
        if begin >= end:
            raise pair.malformed(f"[{begin}, {end}) is empty")
        ranges.append((begin, end))
    return tuple(ranges)
