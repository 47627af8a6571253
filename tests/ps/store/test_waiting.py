"""Epochs that wait for the store: in order, and merged rather than lost where they are many."""

from __future__ import annotations

import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from ps.shard import Shard, ShardSpec
from ps.store.waiting import WaitingEpochs, merge_epochs
from ps.store.writer import Epoch
from tests.ps.shards import SPEC, make_push

DEADLINE_S = 20.0


def epochs(seed: int, n: int, shards: int = 1) -> tuple[list[Epoch], list[Shard]]:
    """n epochs of a few shards that all learn the same, and the shards as they stand after."""
    made = [Shard(ShardSpec("m", SPEC.tables, SPEC.dense, number, 9)) for number in range(shards)]
    found = []
    for step in range(n):
        for shard in made:
            shard.push(make_push(seed, step, step + 1))
        found.append(Epoch(tuple(shard.seal(0) for shard in made), worker=bytes([step])))
    return found, made


def replayed(found: list[Epoch], shards: int = 1) -> list[Shard]:
    """Readers that have applied them all."""
    readers = [
        Shard(ShardSpec("m", SPEC.tables, SPEC.dense, number, 9)) for number in range(shards)
    ]
    for epoch in found:
        for reader, block in zip(readers, epoch.blocks, strict=True):
            assert reader.apply(block)
    return readers


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 6), shards=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_merged_epochs_teach_what_they_taught_one_by_one(seed: int, n: int, shards: int) -> None:
    found, made = epochs(seed, n, shards)
    merged = merge_epochs(found)
    assert merged.worker == found[-1].worker
    for block, first, last in zip(merged.blocks, found[0].blocks, found[-1].blocks, strict=True):
        assert (block.follows, block.cursor) == (first.follows, last.cursor)
    for reader, shard in zip(replayed([merged], shards), made, strict=True):
        assert reader.digest() == shard.digest()


def drained(waiting: WaitingEpochs) -> list[Epoch]:
    found = []
    while (epoch := waiting.take(timeout_s=0.0)) is not None:
        found.append(epoch)
        waiting.done()
    return found


def test_epochs_come_out_in_order_and_stay_until_they_are_done() -> None:
    waiting = WaitingEpochs()
    found, _ = epochs(1, 3)
    for epoch in found:
        waiting.put(epoch)
    assert waiting.take() is found[0]
    assert waiting.take() is found[0]
    assert waiting.epochs == 3
    assert drained(waiting) == found
    assert waiting.wait_empty(0.0)


def settled(waiting: WaitingEpochs) -> None:
    """Wait for merges under way."""
    for thread in threading.enumerate():
        if thread.name == "merge-epochs":
            thread.join(DEADLINE_S)
    assert waiting.epochs


def test_a_store_that_hangs_costs_restore_points_not_memory() -> None:
    waiting = WaitingEpochs(max_bytes=1, max_epochs=100)
    found, made = epochs(2, 40)
    waiting.put(found[0])
    in_hand = waiting.take()
    for epoch in found[1:]:
        waiting.put(epoch)
        settled(waiting)
    assert waiting.take() is in_hand is found[0]
    left = drained(waiting)
    assert len(left) < 20
    assert replayed(left)[0].digest() == made[0].digest()


def test_too_many_are_merged_however_small() -> None:
    waiting = WaitingEpochs(max_bytes=1 << 40, max_epochs=5)
    found, made = epochs(3, 30)
    for epoch in found:
        waiting.put(epoch)
        settled(waiting)
    left = drained(waiting)
    assert len(left) <= 6
    assert replayed(left)[0].digest() == made[0].digest()


def test_closing_wakes_who_waits_and_keeps_what_is_left() -> None:
    waiting = WaitingEpochs()
    found, _ = epochs(4, 1)
    waiting.put(found[0])
    waiting.close()
    assert waiting.take() is found[0]
    waiting.done()
    assert waiting.take() is None
    assert waiting.closed
    assert waiting.wait_empty(0.0)
