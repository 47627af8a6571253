"""Compiling what saving and restoring use, before training has to share the processor with it."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ps.block import Cursor
from ps.store.block_file import write_block
from ps.store.commit import Commit, ShardChain
from ps.store.compactor import compact
from ps.store.description import describe
from ps.store.merge import merge_blocks
from ps.store.opening import open_location
from ps.store.restore import restore_shards

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ps.block import Block
    from ps.shard import ShardSpec

_MEMORY_BYTES = 1 << 20


def warm_up_store(spec: ShardSpec, blocks: Sequence[Block]) -> None:
    """Save, merge, compact and restore the first blocks of one made-up shard (number 0)."""
    merge_blocks(blocks)
    with TemporaryDirectory(prefix="trilith-") as folder:
        location = open_location(folder)
        for block in blocks:
            write_block(location, block)
        chain = ShardChain(0, None, tuple(block.cursor for block in blocks))
        compact(location, chain, memory_bytes=_MEMORY_BYTES)
        for way in (chain, ShardChain(0, chain.cursor, ())):
            commit = Commit(
                at=Cursor(chain.cursor.epoch, 0),
                model=spec.model,
                description=describe([spec]),
                shards=(way,),
                positions={},
                event_ts_us=0,
                created_us=0,
            )
            [restored] = restore_shards(location, commit, [spec])
        names = [table.name for table in spec.tables]
        restored.mark_changed({name: restored.table(name).export().fids for name in names})
