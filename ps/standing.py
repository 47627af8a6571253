"""Where a shard stands: told in the head of a block, and taken over from another shard's block."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ps.block import Block
from ps.errors import BlockGapError, ForeignBlockError, SpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ps.admission import AdmissionFilter
    from ps.block import FilterDelta
    from ps.dense import DenseStore
    from ps.progress import Progress
    from ps.shard_spec import ShardSpec
    from ps.table import Table

    Tables = Mapping[str, Table]


def head_of(
    spec: ShardSpec, progress: Progress, tables: Tables, sealed_us: int, *, base: bool
) -> Block:
    """A block of the epoch's number that says how far the shard has come, and holds nothing."""
    return Block(
        model=spec.model,
        shard=spec.shard,
        generation=progress.generation,
        epoch=progress.epoch,
        base=base,
        event_ts_us=progress.event_ts_us,
        sealed_us=sealed_us,
        ingest_us=progress.ingest_us,
        positions=dict(progress.positions),
        tables={},
        dense={},
        filters={},
        owners=dict(progress.owners),
        tallies={name: table.tally() for name, table in sorted(tables.items())},
        pushes_applied=progress.pushes_applied,
        pushes_repeated=progress.pushes_repeated,
    )


def filters_of(
    tables: Tables, take: Callable[[AdmissionFilter], FilterDelta | None]
) -> dict[str, FilterDelta]:
    """What `take` finds in the tables' filters, by table, where it finds anything."""
    found = {name: take(table.admission) for name, table in sorted(tables.items())}
    return {name: change for name, change in found.items() if change is not None}


def check_kinship(spec: ShardSpec, block: Block) -> None:
    """Refuse another shard's block, or another model's: ForeignBlockError."""
    if (block.model, block.shard) != (spec.model, spec.shard):
        raise ForeignBlockError(
            f"block of model {block.model} shard {block.shard} offered to model "
            f"{spec.model} shard {spec.shard}; point the reader at its own log"
        )


def is_next(block: Block, progress: Progress, tables: Tables) -> bool:
    """Whether a block of the shard followed is to be applied; False where its epoch was before.

    Raises ForeignBlockError, BlockGapError where it does not come next, SpecError where it is a base
    and there are rows.
    """
    if block.generation < progress.generation:
        raise ForeignBlockError(
            f"block of generation {block.generation}, this reader follows "
            f"{progress.generation}; its sender has been replaced"
        )
    same = block.generation == progress.generation
    if block.epoch <= progress.epoch and same:
        return False
    if block.base:
        if any(len(table) for table in tables.values()):
            raise SpecError("a base block needs a shard without rows; make a new one")
    elif block.follows != progress.cursor and progress.epoch > 0:
        if not same:
            # A restored shard may be younger than its reader: only a base says what it holds.
            raise ForeignBlockError(
                f"block of generation {block.generation} follows epoch {block.follows.epoch} of "
                f"{block.follows.generation}, this reader is at epoch {progress.epoch} of "
                f"{progress.generation}; start again from a base block"
            )
        raise BlockGapError(block.shard, progress.epoch + 1, block.follows.epoch + 1)
    elif block.follows.epoch != progress.epoch:
        raise BlockGapError(block.shard, progress.epoch + 1, block.follows.epoch + 1)
    return True


def take_over(block: Block, progress: Progress, tables: Tables, dense: DenseStore) -> None:
    """Stand where the block says: everything in it but its rows. It has been checked."""
    dense.restore(block.dense)
    for name, change in block.filters.items():
        tables[name].admission.apply(change, replace=block.base)
    for name, tally in block.tallies.items():
        tables[name].carry_on(tally)
    progress.follow(block)
    now_s = progress.now_s(block.event_ts_us)
    for table in tables.values():
        # Not advance_clock(): whoever was taken back has a younger event time than before.
        table.set_clock(now_s)
