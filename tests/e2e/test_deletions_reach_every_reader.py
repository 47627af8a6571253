"""What leaves a shard leaves every reader: replica, standby, store, bases, merged epochs, reshards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ps.block import Block, Cursor
from ps.blocklog import BlockLog
from ps.clock import ManualClock
from ps.messages import Push, RowGradients
from ps.optimizers import AdaGrad
from ps.shard import Shard, ShardSpec
from ps.store.block_file import write_block
from ps.store.commit import Commit, ShardChain
from ps.store.compactor import compact
from ps.store.description import describe
from ps.store.merge import merge_blocks
from ps.store.opening import open_location
from ps.store.restore import restore_shards
from ps.stream import Span
from ps.table import SlotPolicy, TableSpec
from serving.follower import Follower
from serving.replica import Replica
from serving.table_store import TableStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ps.arrays import U64
    from ps.store.location import Location

TTL_S = 100
TABLE = TableSpec("t", 2, AdaGrad(), slots=(SlotPolicy(1, ttl_s=TTL_S),))
SPEC = ShardSpec("m", (TABLE,), ())
MEMORY_BYTES = 64 << 20


def fids_of(begin: int, end: int) -> U64:
    return np.arange(begin, end, dtype=np.uint64) | np.uint64(1 << 48)


# Old ones expire, kept ones are seen again, late ones come when the old have gone.
OLD, KEPT, LATE = fids_of(0, 300), fids_of(300, 500), fids_of(500, 600)
RETURNED = OLD[:40]


@dataclass(frozen=True)
class Story:
    """A shard from which rows expired, and the blocks that say so."""

    shard: Shard
    blocks: list[Block]
    log: BlockLog

    def commit(self) -> Commit:
        cursors = tuple(block.cursor for block in self.blocks)
        chain = ShardChain(0, None, cursors, self.blocks[-1].positions)
        return Commit(
            at=cursors[-1],
            model="m",
            description=describe([SPEC]),
            shards=(chain,),
            positions=self.blocks[-1].positions,
            event_ts_us=self.blocks[-1].event_ts_us,
            created_us=0,
        )


@pytest.fixture(params=["expired", "removed"])
def story(request: pytest.FixtureRequest) -> Story:
    """With removed, nothing is overdue for a reader: only tombstones say that rows are gone."""
    shard, log, blocks = Shard(SPEC), BlockLog(), []
    removed = request.param == "removed"
    for step, (at_s, fids) in enumerate(
        [
            (0, np.concatenate([OLD, KEPT])),
            (60, KEPT),
            (TTL_S + 1, np.concatenate([KEPT, LATE])),  # the old are overdue now
            (TTL_S + 2, RETURNED),  # gone and back
            (TTL_S + 3, KEPT[:1]),
        ]
    ):
        if removed:
            at_s = step
            if step == 2:
                shard.table("t").remove(OLD)
        gradients = RowGradients(
            fids, np.ones((fids.size, 2), np.float32), np.ones(fids.size, np.uint32)
        )
        shard.push(Push(Span("p", step, step + 1), at_s * 1_000_000, rows={"t": gradients}))
        blocks.append(shard.seal(step))
        log.append(blocks[-1])
    assert sum(block.tables["t"].removed.size for block in blocks) >= OLD.size
    return Story(shard, blocks, log)


def replica(story: Story) -> Callable[[U64], int]:
    reader = Replica("m", {"t": lambda: TableStore(TABLE, seed=0)}, ManualClock())
    reader.apply(story.blocks[0])
    Follower(reader, story.log).catch_up()
    return lambda fids: fids.size - reader.read({"t": fids}).unknown["t"]


def replica_from_a_base(story: Story) -> Callable[[U64], int]:
    reader = Replica("m", {"t": lambda: TableStore(TABLE, seed=0)}, ManualClock())
    reader.apply(story.shard.export(0))
    return lambda fids: fids.size - reader.read({"t": fids}).unknown["t"]


def _held(shard: Shard) -> Callable[[U64], int]:
    return lambda fids: int(shard.table("t").contains(fids).sum())


def standby(story: Story) -> Callable[[U64], int]:
    follower = Shard(SPEC)
    for block in story.blocks:
        follower.apply(block)
    follower.promote(1)
    return _held(follower)


def standby_of_merged_epochs(story: Story) -> Callable[[U64], int]:
    follower = Shard(SPEC)
    follower.apply(story.blocks[0])
    follower.apply(merge_blocks(story.blocks[1:]))
    return _held(follower)


def _saved(story: Story, folder: Path) -> Location:
    location = open_location(str(folder))
    for block in story.blocks:
        write_block(location, block)
    return location


def test_every_reader_loses_what_left_and_keeps_what_stayed(story: Story, tmp_path: Path) -> None:
    location = _saved(story, tmp_path)
    commit = story.commit()
    restored = restore_shards(location, commit, [SPEC])[0]
    compact(location, commit.shards[0], memory_bytes=MEMORY_BYTES)
    compacted = replace(commit, shards=(ShardChain(0, commit.at, (), commit.positions),))
    from_base = restore_shards(location, compacted, [SPEC])[0]
    three = restore_shards(location, commit, [replace(SPEC, shard=n) for n in range(3)])
    readers: dict[str, Callable[[U64], int]] = {
        "the shard": _held(story.shard),
        "replica": replica(story),
        "replica from a base": replica_from_a_base(story),
        "standby": standby(story),
        "standby of merged epochs": standby_of_merged_epochs(story),
        "restored": _held(restored),
        "restored from a base": _held(from_base),
        "restored onto three": lambda fids: sum(_held(shard)(fids) for shard in three),
    }
    gone = OLD[RETURNED.size :]
    for name, held in readers.items():
        counts = (held(gone), held(RETURNED), held(KEPT), held(LATE))
        assert counts == (0, RETURNED.size, KEPT.size, LATE.size), name


def test_memory_of_what_left_is_given_back_to_readers(story: Story) -> None:
    """Not only overdue: no row is held for them any more."""
    follower = Shard(SPEC)
    for block in story.blocks:
        follower.apply(block)
    assert len(follower.table("t")) == RETURNED.size + KEPT.size + LATE.size
    assert follower.cursor == Cursor(len(story.blocks), 0)
