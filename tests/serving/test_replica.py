"""The replica: cursor rules, what readers see, and its laws over random sequences of blocks."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ps.clock import ManualClock
from ps.errors import BlockGapError, ForeignBlockError, ShapeError, UnknownTableError
from serving.errors import NotReadyError
from serving.part import CHUNK_ROWS
from serving.replica import Replica
from tests.serving.blocks import MODEL, TABLE, DictStore, block, delta, fids

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from ps.arrays import F32, I64, U32, U64
    from ps.block import Block

Model = dict[int, float]


def replica(
    *,
    shards: int = 1,
    dense: Collection[str] = (),
    clock: ManualClock | None = None,
    store: Callable[[], DictStore] = DictStore,
) -> Replica:
    return Replica(
        MODEL,
        {TABLE: store},
        clock or ManualClock(),
        shards=shards,
        owner=_by_remainder(shards) if shards > 1 else None,
        dense=dense,
    )


def _by_remainder(shards: int) -> Callable[[U64], I64]:
    return lambda wanted: (wanted % np.uint64(shards)).astype(np.int64)


def values(of: Replica, *wanted: int) -> list[float]:
    rows = of.read({TABLE: fids(*wanted)}).rows[TABLE]
    assert (rows == rows[:, :1]).all()
    return [float(x) for x in rows[:, 0]]


def test_blocks_in_order_give_their_rows() -> None:
    r = replica()
    assert r.apply(block(1, {1: 1.0, 2: 2.0}))
    assert r.apply(block(2, {2: 5.0}, removed=[1]))
    assert values(r, 1, 2) == [0.0, 5.0]
    assert r.read({TABLE: fids(1, 2, 3)}).unknown == {TABLE: 2}


def test_a_row_that_left_and_came_back_within_an_epoch_stays() -> None:
    r = replica()
    r.apply(block(1, {1: 1.0}))
    r.apply(block(2, {1: 2.0}, removed=[1]))
    assert values(r, 1) == [2.0]


def test_missing_fids_read_as_the_store_says() -> None:
    r = replica(store=lambda: DictStore(missing=0.25))
    r.apply(block(1, {1: 1.0}))
    assert values(r, 1, 9) == [1.0, 0.25]


def test_nothing_is_read_before_the_first_block() -> None:
    r = replica()
    with pytest.raises(NotReadyError, match="first blocks"):
        r.read({TABLE: fids(1)})
    assert r.staleness_s() is None
    assert not r.wait_ready(0.0)


def test_it_is_ready_once_every_shard_and_every_dense_variable_came() -> None:
    r = replica(shards=2, dense=["bias"])
    told: list[bool] = []
    r.when_ready(lambda: told.append(r.ready))
    r.apply(block(1, {2: 1.0}, shard=0))
    r.apply(block(1, {1: 1.0}, shard=1))
    assert told == []
    r.apply(block(2, shard=1, dense={"bias": 1.0}))
    assert told == [True]
    assert r.wait_ready(0.0)
    r.when_ready(lambda: told.append(r.ready))
    assert told == [True, True]


def test_rows_come_from_the_shard_that_owns_them() -> None:
    r = replica(shards=3)
    for shard in range(3):
        owned = range(shard, 9, 3)
        r.apply(block(1, {fid: float(fid) for fid in owned}, shard=shard))
    assert values(r, 8, 1, 3, 0) == [8.0, 1.0, 3.0, 0.0]
    assert [s.shard for s in r.version().shards] == [0, 1, 2]
    assert r.read({TABLE: fids()}).rows[TABLE].shape == (0, 2)


def test_a_missing_block_is_a_gap_and_a_base_closes_it() -> None:
    r = replica()
    r.apply(block(1, {1: 1.0}))
    with pytest.raises(BlockGapError) as gap:
        r.apply(block(3, {1: 3.0}))
    assert (gap.value.expected, gap.value.found) == (2, 3)
    assert values(r, 1) == [1.0]
    assert r.apply(block(3, {2: 2.0}, base=True))
    assert values(r, 1, 2) == [0.0, 2.0]
    assert r.apply(block(4, {1: 4.0}))


def test_the_first_block_must_be_the_first_epoch_or_a_base() -> None:
    with pytest.raises(BlockGapError):
        replica().apply(block(2))
    assert replica().apply(block(7, base=True))


def test_a_base_resets_only_its_own_shard() -> None:
    r = replica(shards=2)
    r.apply(block(1, {2: 2.0}, shard=0, dense={"a": 1.0}))
    r.apply(block(1, {1: 1.0}, shard=1, dense={"b": 1.0}))
    r.apply(block(5, {4: 4.0}, shard=0, base=True))
    assert values(r, 1, 2, 4) == [1.0, 0.0, 4.0]
    assert sorted(r.read({}).dense) == ["b"]


def test_a_newer_generation_enters_by_its_base_and_an_older_one_never() -> None:
    r = replica()
    r.apply(block(5, {1: 1.0}, base=True, generation=1))
    with pytest.raises(ForeignBlockError, match="generation 2"):
        r.apply(block(6, {1: 2.0}, generation=2))
    with pytest.raises(ForeignBlockError, match="generation 0"):
        r.apply(block(9, {1: 2.0}, base=True, generation=0))
    assert values(r, 1) == [1.0]
    assert r.apply(block(3, {1: 3.0}, base=True, generation=2))
    assert values(r, 1) == [3.0]


@pytest.mark.parametrize(
    ("foreign", "reason"),
    [
        (block(1, model="other"), "model 'other'"),
        (block(1, shard=1), "shards 0 to 0"),
        (block(1, tables={"nope": delta()}), "table 'nope'"),
    ],
)
def test_a_foreign_block_is_refused_whole(foreign: Block, reason: str) -> None:
    r = replica()
    with pytest.raises(ForeignBlockError, match=reason):
        r.apply(foreign)
    assert r.cursor(0) is None


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"float32\[1, 3\], not float32\[1, 2\]"):
        replica().apply(block(1, tables={TABLE: delta({1: 1.0}, width=3)}))


def test_an_unknown_table_cannot_be_read() -> None:
    r = replica()
    r.apply(block(1))
    with pytest.raises(UnknownTableError):
        r.read({"nope": fids(1)})


def test_staleness_is_counted_from_the_oldest_example_and_from_sealing() -> None:
    clock = ManualClock(10_000_000)
    r = replica(shards=2, clock=clock)
    r.apply(block(1, shard=0, sealed_us=9_000_000, ingest_us=8_500_000))
    r.apply(block(1, shard=1, sealed_us=9_500_000))
    clock.advance_s(1.0)
    status = r.status()
    assert status.staleness_s == pytest.approx(2.0)
    assert status.staleness.blocks == 1
    assert status.staleness.p50_s == pytest.approx(1.5)
    assert (status.blocks_applied, status.blocks_ignored) == (2, 0)


def test_one_reading_holds_dense_variables_of_one_block() -> None:
    r = replica()
    r.apply(block(1, dense={"a": 1.0, "b": 1.0}))
    before = r.read({}).dense
    r.apply(block(2, dense={"a": 2.0, "b": 2.0}))
    assert [float(before[name][0]) for name in "ab"] == [1.0, 1.0]
    assert [float(r.read({}).dense[name][0]) for name in "ab"] == [2.0, 2.0]


_rows = st.dictionaries(st.integers(0, 12), st.floats(-8, 8, width=32), max_size=6)
_removed = st.lists(st.integers(0, 12), max_size=4, unique=True)
_steps = st.lists(st.tuples(_rows, _removed, st.booleans()), min_size=1, max_size=8)


def _state(r: Replica) -> F32:
    return r.read({TABLE: np.arange(13, dtype=np.uint64)}).rows[TABLE]


def _expected(model: Model) -> F32:
    column = np.array([model.get(fid, 0.0) for fid in range(13)], dtype=np.float32)
    return np.repeat(column[:, None], 2, axis=1)


@given(steps=_steps)
def test_a_replica_equals_a_dict_after_any_sequence_of_blocks(
    steps: list[tuple[Model, list[int], bool]],
) -> None:
    r = replica()
    model: Model = {}
    for epoch, (rows, removed, base) in enumerate(steps, start=1):
        r.apply(block(epoch, rows, removed, base=base))
        kept = {} if base else {fid: v for fid, v in model.items() if fid not in removed}
        model = kept | rows
        np.testing.assert_array_equal(_state(r), _expected(model))
        assert r.status().rows == len(model)


@given(steps=_steps, again=st.lists(st.integers(0, 7), max_size=8))
def test_applying_a_block_twice_changes_nothing(
    steps: list[tuple[Model, list[int], bool]], again: list[int]
) -> None:
    r = replica()
    blocks = [block(e, rows, gone, base=b) for e, (rows, gone, b) in enumerate(steps, start=1)]
    for one in blocks:
        r.apply(one)
    before, version = _state(r), r.version()
    repeated = [blocks[i] for i in again if i < len(blocks)]
    assert not any(r.apply(one) for one in repeated)
    np.testing.assert_array_equal(_state(r), before)
    assert r.version() == version
    assert r.status().blocks_ignored == len(repeated)


class ArrayStore(DictStore):
    """Rows in one array that is written float by float, so that an unlocked reader would notice."""

    def __init__(self) -> None:
        super().__init__(width=4)
        self.array = np.zeros((2 * CHUNK_ROWS, 4), dtype=np.float32)

    def upsert(self, wanted: U64, weights: F32, last_seen_s: U32) -> None:
        assert len(last_seen_s) == len(wanted)
        for column in range(4):
            self.array[wanted, column] = weights[:, column]

    def read(self, wanted: U64) -> tuple[F32, int]:
        columns = [self.array[wanted, column] for column in (3, 1, 0, 2)]
        return np.stack(columns, axis=1), 0


def test_a_reader_never_sees_half_a_row_while_blocks_are_applied() -> None:
    r = replica(store=ArrayStore)
    every = np.arange(2 * CHUNK_ROWS, dtype=np.uint64)

    def written(epoch: int) -> Block:
        return block(
            epoch,
            tables={TABLE: delta(dict.fromkeys(every.tolist(), float(epoch)), width=4)},
            dense={"a": float(epoch), "b": float(epoch)},
        )

    r.apply(written(1))
    torn: list[str] = []
    reads = [0, 0, 0]
    done = threading.Event()

    def hammer(reader: int) -> None:
        while not done.is_set():
            reading = r.read({TABLE: every})
            rows = reading.rows[TABLE]
            if not (rows == rows[:, :1]).all():
                torn.append("a row of two blocks")
            if not (reading.dense["a"] == reading.dense["b"]).all():
                torn.append("dense variables of two blocks")
            if rows.min() < reading.version.shards[0].epoch:
                torn.append("a row older than its version")
            reads[reader] += 1

    threads = [threading.Thread(target=hammer, args=(i,)) for i in range(len(reads))]
    for thread in threads:
        thread.start()
    try:
        for epoch in range(2, 40):
            r.apply(written(epoch) if epoch % 10 else _as_base(written(epoch)))
    finally:
        done.set()
        for thread in threads:
            thread.join(30)
    assert not torn
    assert min(reads) > 0, "the applier starved a reader"
    assert values(r, 0) == [39.0]


def _as_base(ordinary: Block) -> Block:
    return replace(ordinary, base=True)
