"""The change log: order, trimming, generations, waiting readers."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.block import Block, TableDelta
from ps.blocklog import BlockLog, block_bytes
from ps.errors import BlockError, BlockGapError, ForeignBlockError, SpecError


def make_block(
    epoch: int, shard: int = 0, generation: int = 0, rows: int = 10, base: bool = False
) -> Block:
    return Block(
        model="m",
        shard=shard,
        generation=generation,
        epoch=epoch,
        base=base,
        event_ts_us=epoch,
        sealed_us=epoch,
        ingest_us=None,
        positions={"p": epoch},
        tables={
            "t": TableDelta(
                np.zeros(rows, np.uint64),
                np.zeros(rows, np.uint32),
                np.zeros((rows, 4), np.float32),
                np.zeros((rows, 1), np.float32),
                np.zeros(0, np.uint64),
            )
        },
        dense={},
        filters={},
    )


def epochs(blocks: list[Block]) -> list[int]:
    return [block.epoch for block in blocks]


def filled(log: BlockLog, first: int, last: int, shard: int = 0) -> BlockLog:
    for epoch in range(first, last + 1):
        log.append(make_block(epoch, shard))
    return log


def test_a_reader_gets_what_follows_its_cursor_in_order() -> None:
    log = filled(BlockLog(), 1, 5)
    assert epochs(log.read(0, 0)) == [1, 2, 3, 4, 5]
    assert epochs(log.read(0, 3)) == [4, 5]
    assert epochs(log.read(0, 1, limit=2)) == [2, 3]
    assert log.read(0, 5) == []


def test_a_shard_nobody_has_heard_of_has_no_news() -> None:
    assert BlockLog().read(7, 0) == []
    assert not BlockLog().wait_for(7, 0, timeout_s=0.0)


def test_shards_do_not_see_each_others_blocks() -> None:
    log = BlockLog()
    filled(log, 1, 3, shard=0)
    filled(log, 11, 12, shard=1)
    assert epochs(log.read(0, 0)) == [1, 2, 3]
    assert epochs(log.read(1, 10)) == [11, 12]


def test_a_reader_that_fell_behind_is_told_where_the_log_begins() -> None:
    log = filled(BlockLog(max_blocks=3), 1, 10)
    with pytest.raises(BlockGapError) as caught:
        log.read(0, 5)
    assert (caught.value.shard, caught.value.expected, caught.value.found) == (0, 6, 8)
    assert epochs(log.read(0, 7)) == [8, 9, 10]


@given(
    sizes=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 400)), max_size=60),
    max_bytes=st.integers(1, 100_000),
    max_blocks=st.integers(1, 10),
)
@settings(max_examples=100, deadline=None)
def test_memory_is_bounded_and_every_shard_keeps_an_unbroken_end(
    sizes: list[tuple[int, int]], max_bytes: int, max_blocks: int
) -> None:
    """Whatever readers do or do not do: nobody reads here at all while the log is written."""
    log = BlockLog(max_bytes, max_blocks)
    newest: dict[int, Block] = {}
    for shard, rows in sizes:
        epoch = newest[shard].epoch + 1 if shard in newest else 1
        newest[shard] = make_block(epoch, shard, rows=rows)
        log.append(newest[shard])
        held = []
        for number, last in newest.items():
            for after in range(last.epoch - 1, -1, -1):
                try:
                    found = log.read(number, after)
                except BlockGapError:
                    break
                assert epochs(found) == list(range(after + 1, last.epoch + 1))
                held.append(found[0])
        assert log.held_bytes == sum(block_bytes(block) for block in held)
        if len(held) > len(newest):
            assert log.held_bytes <= max_bytes
            assert len(held) <= max_blocks


def test_a_block_that_skips_an_epoch_is_refused() -> None:
    log = filled(BlockLog(), 1, 2)
    for epoch in (2, 4):
        with pytest.raises(BlockGapError):
            log.append(make_block(epoch))
    assert epochs(log.read(0, 0)) == [1, 2]


def test_a_later_generation_replaces_the_one_before() -> None:
    log = filled(BlockLog(), 1, 5)
    log.append(make_block(3, generation=1))
    assert log.held_bytes == block_bytes(make_block(3))
    with pytest.raises(ForeignBlockError, match="generation 1"):
        log.read(0, 5, generation=0)
    with pytest.raises(BlockGapError):
        log.read(0, 5)
    assert epochs(log.read(0, 2, generation=1)) == [3]
    with pytest.raises(ForeignBlockError):
        log.append(make_block(6, generation=0))


def test_a_cursor_of_this_generation_may_be_ahead_of_the_log() -> None:
    """A base block can be made between a seal and its append."""
    log = filled(BlockLog(), 1, 2)
    assert log.read(0, 3, generation=0) == []
    assert not log.wait_for(0, 3, timeout_s=0.0, generation=0)


def test_a_base_block_comes_from_its_provider_and_not_from_the_log() -> None:
    log = BlockLog(base=lambda shard: make_block(9, shard, base=True))
    assert (log.base(4).shard, log.base(4).epoch) == (4, 9)
    with pytest.raises(BlockError, match="base"):
        log.append(make_block(1, base=True))
    with pytest.raises(BlockError, match="block store"):
        BlockLog().base(0)


def test_a_log_that_holds_nothing_is_refused() -> None:
    with pytest.raises(SpecError):
        BlockLog(max_bytes=0)
    with pytest.raises(SpecError):
        BlockLog(max_blocks=0)


def test_a_waiting_reader_is_woken_by_its_block_and_by_no_other() -> None:
    log = BlockLog()
    answers: list[bool] = []
    reader = threading.Thread(target=lambda: answers.append(log.wait_for(0, 0, timeout_s=60.0)))
    reader.start()
    log.append(make_block(1, shard=1))
    assert not log.wait_for(0, 0, timeout_s=0.0)
    log.append(make_block(1, shard=0))
    reader.join(60.0)
    assert answers == [True]


def test_news_that_came_before_the_wait_are_not_missed() -> None:
    log = filled(BlockLog(), 1, 2)
    assert log.wait_for(0, 1, timeout_s=0.0)
    assert not log.wait_for(0, 2, timeout_s=0.0)
    log.append(make_block(1, generation=1))
    assert log.wait_for(0, 2, timeout_s=0.0, generation=0)


def test_closing_wakes_those_who_wait() -> None:
    log = BlockLog()
    answers: list[bool] = []
    reader = threading.Thread(target=lambda: answers.append(log.wait_for(0, 0, timeout_s=60.0)))
    reader.start()
    log.close()
    reader.join(60.0)
    assert answers == [False]


def test_readers_at_every_pace_see_every_block_once_or_a_gap() -> None:
    log = BlockLog(max_blocks=50)
    seen: list[list[int]] = [[] for _ in range(3)]

    def follow(mine: list[int], limit: int) -> None:
        cursor = 0
        while cursor < 300:
            log.wait_for(0, cursor, timeout_s=60.0)
            try:
                for block in log.read(0, cursor, limit):
                    mine.append(block.epoch)
                    cursor = block.epoch
            except BlockGapError as gap:
                cursor = gap.found - 1

    readers = [
        threading.Thread(target=follow, args=(mine, limit))
        for mine, limit in zip(seen, (1, 7, 64), strict=True)
    ]
    for reader in readers:
        reader.start()
    filled(log, 1, 300)
    for reader in readers:
        reader.join(60.0)
    for mine in seen:
        assert mine == sorted(set(mine))
        assert mine[-1] == 300
