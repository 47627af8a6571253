"""Restore points of blocks that shards wrote to the store themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ps.block import Cursor
from ps.clock import ManualClock, SystemClock
from ps.errors import FencedError, StoreError, StoreInUseError
from ps.shard import Shard
from ps.store.block_file import write_block
from ps.store.catalog import Catalog
from ps.store.claim import take_claim
from ps.store.commit import ShardChain
from ps.store.description import describe
from ps.store.heads import head_of
from ps.store.holder import Holder
from ps.store.opening import open_location
from ps.store.restore import restore_shards
from ps.store.tenure import Tenure
from ps.store.writer import Epoch, StoreWriter, Written
from tests.ps.shards import SPEC, make_push

if TYPE_CHECKING:
    from pathlib import Path

    from ps.block import Block

SPECS = [replace(SPEC, shard=number, dense=SPEC.dense if number == 0 else ()) for number in (0, 1)]


class Saved:
    """Two shards that write their own blocks, and a writer that commits them."""

    def __init__(self, url: str) -> None:
        self.location = open_location(url)
        holder = Holder.of_this_process("test")
        self.claim = take_claim(self.location, holder, clock=SystemClock(), lease_s=60.0)
        self.shards = [Shard(spec) for spec in SPECS]
        for shard in self.shards:
            shard.promote(self.claim.generation)
        self.writer = self.a_writer([ShardChain(number, None, ()) for number in (0, 1)])

    def a_writer(self, chains: list[ShardChain]) -> StoreWriter:
        return StoreWriter(
            self.location, self.claim, describe(SPECS), chains, clock=ManualClock(5_000_000)
        )

    def learn(self, shard: int, step: int) -> None:
        push = make_push(1, step, step + 1)
        self.shards[shard].push(push if shard == 0 else replace(push, dense={}))

    def write(self, shard: int, epoch: int) -> tuple[Block, int]:
        block = self.sealed(shard, epoch)
        return head_of(block), write_block(self.location, block)

    def sealed(self, shard: int, epoch: int) -> Block:
        one = self.shards[shard]
        one.begin_seal(1, epoch)
        block = one.gather(1 << 40)
        assert block is not None
        return block


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    return Saved(str(tmp_path))


def test_heads_of_some_shards_extend_their_chains_alone(saved: Saved) -> None:
    saved.learn(0, 0)
    saved.learn(1, 0)
    (first, n_first), (second, n_second) = saved.write(0, 7), saved.write(1, 7)
    written = Written(
        {0: first, 1: second}, n_first + n_second, 7, b"w", {"p": ((3, 4),)}, {"t": 9}
    )
    one = saved.writer.commit_written(written, "m")
    assert one.at == Cursor(7, 1)
    assert (one.worker, one.skips, one.rows) == (b"w", {"p": ((3, 4),)}, {"t": 9})
    assert one.aligned
    assert one.bytes_written == n_first + n_second
    saved.learn(1, 1)
    head, n_bytes = saved.write(1, 9)
    two = saved.writer.commit_written(Written({1: head}, n_bytes, 9), "m")
    assert [chain.cursor for chain in two.shards] == [Cursor(7, 1), Cursor(9, 1)]
    assert not two.aligned
    assert two.positions == {"p": 1}
    assert two.worker == b"w"  # as it was told last
    restored = restore_shards(saved.location, Catalog(saved.location).read(two.at), SPECS)
    assert [one.digest() for one in restored] == [one.digest() for one in saved.shards]


def test_where_nothing_happened_a_commit_says_what_the_one_before_did(saved: Saved) -> None:
    saved.learn(0, 0)
    saved.learn(1, 0)
    heads = {shard: saved.write(shard, 3)[0] for shard in (0, 1)}
    one = saved.writer.commit_written(Written(heads, 1, 3, b"w"), "m")
    two = saved.writer.commit_written(Written({}, 0, 8), "m")
    assert two.at == Cursor(8, 1)
    assert (two.shards, two.event_ts_us, two.worker) == (one.shards, one.event_ts_us, b"w")
    assert two.ingest_us is None


def test_a_head_that_does_not_follow_is_refused(saved: Saved) -> None:
    saved.learn(0, 0)
    head, n_bytes = saved.write(0, 2)
    saved.writer.commit_written(Written({0: head}, n_bytes, 2), "m")
    with pytest.raises(StoreError, match="the store is at"):
        saved.writer.commit_written(Written({0: head}, n_bytes, 3), "m")
    with pytest.raises(StoreError, match=r"shards \[2\]"):
        saved.writer.commit_written(Written({2: head}, n_bytes, 3), "m")
    assert len(Catalog(saved.location).points()) == 1


def test_who_has_been_replaced_commits_nothing(saved: Saved) -> None:
    saved.learn(0, 0)
    head, n_bytes = saved.write(0, 2)
    other = Holder.of_this_process("another")
    take_claim(saved.location, other, clock=SystemClock(), lease_s=60.0, takeover=True)
    with pytest.raises(FencedError):
        saved.writer.commit_written(Written({0: head}, n_bytes, 2), "m")
    assert Catalog(saved.location).points() == []


def test_both_ways_of_committing_go_together(saved: Saved) -> None:
    saved.learn(0, 0)
    head, n_bytes = saved.write(0, 2)
    saved.writer.commit_written(Written({0: head}, n_bytes, 2), "m")
    blocks = tuple(saved.sealed(shard, 3) for shard in (0, 1))
    saved.writer.commit(Epoch(blocks))
    assert [point.at.epoch for point in Catalog(saved.location).points()] == [2, 3]


def test_a_successor_of_the_same_job_takes_over_at_once(tmp_path: Path) -> None:
    location, clock = open_location(str(tmp_path)), SystemClock()
    first = Tenure(location, Holder.of_this_process("job"), clock, successor=True)
    with pytest.raises(StoreInUseError):
        Tenure(location, Holder.of_this_process("job"), clock)
    with pytest.raises(StoreInUseError):
        Tenure(location, Holder.of_this_process("another job"), clock, successor=True)
    second = Tenure(location, Holder.of_this_process("job"), clock, successor=True)
    assert second.generation > first.generation
    with pytest.raises(FencedError):
        first.check()
    with pytest.raises(FencedError):
        first.advance()
    second.release()


def test_a_tenure_of_many_generations_remembers_two(tmp_path: Path) -> None:
    location, clock = open_location(str(tmp_path)), SystemClock()
    tenure = Tenure(location, Holder.of_this_process("job"), clock)
    for _ in range(20):
        tenure.advance()
    assert (tenure.first_generation, tenure.generation) == (1, 21)
    assert len(tenure._claims) == 2
    tenure.release()
    Tenure(location, Holder.of_this_process("another"), clock).release()
