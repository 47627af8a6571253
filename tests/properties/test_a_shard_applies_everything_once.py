"""Laws of the shard over random schedules: repeats, readers, bases, and many shards for one."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.client import RoutingClient
from ps.messages import Push, PushReceipt, RowGradients
from ps.optimizers import Sgd
from ps.shard import Shard, ShardSpec
from ps.stream import Span
from ps.table import TableSpec
from tests.ps.shards import make, make_push

seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds, schedule=st.lists(st.integers(0, 3), max_size=12))
@settings(max_examples=40, deadline=None)
def test_applying_a_push_twice_changes_nothing(seed: int, schedule: list[int]) -> None:
    """After every push, `back` pushes are sent once more, as a worker does that rewinds."""
    once, again = make(), make()
    for step, back in enumerate(schedule):
        for begin in (step, *range(max(0, step - back), step + 1)):
            again.push(make_push(seed, begin, begin + 1))
        once.push(make_push(seed, step, step + 1))
        assert again.digest() == once.digest()


@given(seed=seeds, seals=st.lists(st.booleans(), max_size=15), base_at=st.integers(0, 14))
@settings(max_examples=40, deadline=None)
def test_blocks_in_order_equal_the_shard(seed: int, seals: list[bool], base_at: int) -> None:
    """One reader from the first block, one from a base that was taken in the middle of an epoch."""
    shard, from_start, from_base = make(), make(), make()
    joined = False
    for step, seal in enumerate(seals):
        shard.push(make_push(seed, step, step + 1))
        if step == base_at and shard.stats().epoch > 0:
            assert from_base.apply(shard.export(sealed_us=0))
            assert from_base.digest() == shard.digest()
            joined = True
        if seal:
            block = shard.seal(sealed_us=0)
            for _ in range(2):
                from_start.apply(block)
                if joined:
                    from_base.apply(block)
            assert from_start.digest() == shard.digest()
            assert not joined or from_base.digest() == shard.digest()


COUNT = TableSpec("count", 1, Sgd(learning_rate=1.0), capacity_rows=5_000)
RECORDS = 60


class Dying(Shard):
    """A shard whose caller may be cut off before a push reaches it."""

    unreachable = False

    def push(self, push: Push) -> PushReceipt:
        if self.unreachable:
            raise ConnectionError
        return super().push(push)


def record(seed: int, offset: int) -> Counter[int]:
    """The fids of record `offset` of the stream, wherever batches begin."""
    rng = np.random.default_rng((seed, offset))
    return Counter((rng.integers(0, 300, 6) | (rng.integers(0, 3) << 48)).tolist())


def total(seed: int, begin: int, end: int) -> Counter[int]:
    return sum((record(seed, offset) for offset in range(begin, end)), Counter())


def work(client: RoutingClient, seed: int, batch_size: int, dies_at: int | None) -> None:
    """A worker from its start to its death, or to the end of the stream."""
    cuts = client.resume_cuts().get("p", (0,))
    begin, number = cuts[0], 0
    while begin < RECORDS:
        end = min([begin + batch_size, RECORDS, *(cut for cut in cuts if cut > begin)])
        for place, shard in enumerate(client.shards):
            assert isinstance(shard, Dying)
            shard.unreachable = dies_at == number and place >= len(client.shards) // 2
        counts = total(seed, begin, end)
        fids = np.array(list(counts), dtype=np.uint64)
        occurred = np.array(list(counts.values()), dtype=np.uint32)
        rows = {"count": RowGradients(fids, -occurred.astype(np.float32)[:, None], occurred)}
        try:
            client.push(Span("p", begin, end), event_ts_us=end, rows=rows, dense={})
        except ConnectionError:
            return
        begin, number = end, number + 1


@given(
    seed=seeds,
    shards=st.sampled_from([1, 2, 4]),
    lives=st.lists(st.tuples(st.integers(1, 20), st.integers(0, 4)), max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_each_weight_is_the_number_of_occurrences_whoever_dies(
    seed: int, shards: int, lives: list[tuple[int, int]]
) -> None:
    client = RoutingClient(
        [Dying(ShardSpec("m", (COUNT,), shard=number)) for number in range(shards)]
    )
    for batch_size, dies_at in lives:
        work(client, seed, batch_size, dies_at)
    work(client, seed, 7, None)
    expected = total(seed, 0, RECORDS)
    fids = np.array(sorted(expected), dtype=np.uint64)
    weights = client.pull({"count": fids})["count"][:, 0]
    assert dict(zip(fids.tolist(), weights.tolist(), strict=True)) == expected
    assert client.positions() == {"p": RECORDS}
