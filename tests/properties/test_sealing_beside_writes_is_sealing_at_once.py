"""Whatever is done while rows are gathered, what is sealed is the state at the cut, byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.codec import encode_block
from ps.dense import DenseSpec, DenseStore
from ps.errors import SealInProgressError
from ps.initializers import Initializer
from ps.messages import LogisticExamples
from ps.optimizers import AdaGrad, FtrlProximal
from ps.stream import Span
from ps.table import SlotPolicy, Table, TableSpec
from tests.ps.fids import fids_of, gradients
from tests.ps.shards import make, make_push

if TYPE_CHECKING:
    from ps.block import TableDelta
    from ps.optimizers import Optimizer

FIDS = [slot << 48 | number for slot in (0, 1) for number in range(90)]

chosen = st.lists(st.sampled_from(FIDS), max_size=25, unique=True)
seconds = st.integers(0, 3)
writes = st.one_of(
    st.tuples(st.just("push"), chosen, seconds),
    st.tuples(st.just("push"), chosen, seconds),
    st.tuples(st.just("remove"), chosen, seconds),
    st.tuples(st.just("upsert"), chosen, seconds),
    st.tuples(st.just("mark"), chosen, seconds),
    st.tuples(st.just("expire"), st.integers(0, 200), seconds),
)
gathers = st.tuples(st.just("gather"), st.integers(0, 40), st.just(0))
epochs = st.lists(
    st.tuples(st.lists(writes, max_size=6), st.lists(st.one_of(writes, gathers), max_size=10)),
    max_size=6,
)


class Twin:
    """Two tables to which the same is done, but that one is sealed at once and one by and by."""

    def __init__(
        self, width: int, optimizer: Optimizer, on_full: Literal["error", "evict"], rows: int
    ) -> None:
        spec = TableSpec(
            "t",
            width,
            optimizer,
            Initializer("normal", 0.3) if width > 1 else Initializer(),
            slots=(SlotPolicy(1, ttl_s=4),),
            capacity_rows=rows,
            on_full=on_full,
        )
        self.width = width
        self.tables = [Table(spec, seed=2) for _ in range(2)]
        self.dense = [DenseStore([DenseSpec("d", (2,), FtrlProximal())], 0) for _ in range(2)]
        self.now_s = 0

    def write(self, what: str, argument: list[int] | int, seconds: int) -> None:
        self.now_s += seconds
        for table, store in zip(self.tables, self.dense, strict=True):
            if not isinstance(argument, list):
                table.expire(now_s=self.now_s, budget_rows=argument)
            elif what == "push" and self.width == 1:
                learn(table, store, fids_of(argument), self.now_s)
            elif what == "push":
                table.push(gradients(fids_of(argument), 1.0, self.width), now_s=self.now_s)
            elif what == "remove":
                table.remove(fids_of(argument))
            elif what == "mark":
                table.mark_changed(fids_of(argument))
            elif len(table) + len(argument) <= (table.spec.capacity_rows or 0):
                n = len(argument)
                weights = np.full((n, self.width), self.now_s, np.float32)
                state = np.full((n, table.spec.state_width), self.now_s, np.float32)
                table.upsert(
                    fids_of(argument), weights, state, np.full(n, self.now_s, dtype=np.uint32)
                )


def learn(table: Table, store: DenseStore, fids: np.ndarray, now_s: int) -> None:
    examples = LogisticExamples(
        Span("p", 0, 1),
        event_ts_us=0,
        ingest_us=0,
        generation=0,
        table="t",
        fids=fids,
        offsets=np.array([0, len(fids) // 2, len(fids)], dtype=np.int64),
        values=None,
        inputs=np.ones((2, 1), np.float32),
        labels=np.array([0, 1], np.float32),
        dense="d",
        distinct=True,
    )
    table.learn_logistic(examples, store.lend("d"), now_s=now_s)


def assert_equal(left: TableDelta, right: TableDelta) -> None:
    for name in ("fids", "last_seen_s", "weights", "state", "removed"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
        assert not getattr(left, name).flags.writeable


def run(twin: Twin, steps: list[tuple[list[tuple], list[tuple]]]) -> None:  # type: ignore[type-arg]
    by_and_by, at_once = twin.tables
    for before, during in steps:
        for write in before:
            twin.write(*write)
        by_and_by.begin_seal()
        expected = at_once.seal()
        for step in during:
            if step[0] == "gather":
                by_and_by.gather(step[1])
            else:
                twin.write(*step)
        assert_equal(by_and_by.export(), at_once.export())
        while not by_and_by.gather(7):
            pass
        assert_equal(by_and_by.finish_seal(), expected)
    assert_equal(by_and_by.seal(), at_once.seal())
    assert_equal(by_and_by.export(), at_once.export())


@given(steps=epochs, on_full=st.sampled_from(["error", "evict"]))
@settings(max_examples=80, deadline=None)
def test_pushes_expiry_and_eviction_leave_the_cut_as_it_was(
    steps: list[tuple[list[tuple], list[tuple]]],  # type: ignore[type-arg]
    on_full: Literal["error", "evict"],
) -> None:
    run(Twin(3, AdaGrad(), on_full, rows=60 if on_full == "evict" else 400), steps)


@given(steps=epochs, on_full=st.sampled_from(["error", "evict"]))
@settings(max_examples=60, deadline=None)
def test_learning_by_example_leaves_the_cut_as_it_was(
    steps: list[tuple[list[tuple], list[tuple]]],  # type: ignore[type-arg]
    on_full: Literal["error", "evict"],
) -> None:
    run(Twin(1, FtrlProximal(), on_full, rows=60 if on_full == "evict" else 400), steps)


@pytest.mark.parametrize("budget_rows", [1, 63, 64, 65, 1_000_000])
def test_gathering_stays_within_its_budget_and_ends(budget_rows: int) -> None:
    table = Table(TableSpec("t", 5, AdaGrad(), capacity_rows=2_000))
    table.push(gradients(fids_of(range(1_000)), 1.0, 5), now_s=1)
    table.forget_changes()
    table.push(gradients(fids_of(range(0, 1_000, 3)), 1.0, 5), now_s=2)
    table.begin_seal()
    calls = 1
    while not table.gather(budget_rows):
        calls += 1
    assert calls == max(1, -(-334 // budget_rows))
    assert table.finish_seal().fids.tolist() == list(range(0, 1_000, 3))
    assert table.seal().fids.size == 0


def test_an_epoch_that_changed_nothing_is_sealed_without_gathering() -> None:
    table = Table(TableSpec("t", 1, AdaGrad(), capacity_rows=100))
    table.begin_seal()
    assert table.gather(0)
    assert table.finish_seal().fids.size == 0


def test_one_epoch_is_sealed_at_a_time() -> None:
    table = Table(TableSpec("t", 1, AdaGrad(), capacity_rows=100))
    table.push(gradients(fids_of(range(10))), now_s=1)
    everything = table.export()
    with pytest.raises(SealInProgressError, match="begin_seal"):
        table.finish_seal()
    table.begin_seal()
    for call in (table.begin_seal, table.seal, table.forget_changes):
        with pytest.raises(SealInProgressError, match="gather"):
            call()
    with pytest.raises(SealInProgressError, match="gather"):
        table.load(everything)
    assert not table.gather(4)
    with pytest.raises(SealInProgressError, match="6 rows are still"):
        table.finish_seal()
    assert table.gather(6)
    assert table.finish_seal().fids.size == 10


def test_five_million_rows_between_two_cuts_are_all_handed_over() -> None:
    """Gathered beside a push that changes every one of them: none is lost, none is of later."""
    n = 5_000_000
    table = Table(TableSpec("t", 1, AdaGrad(), capacity_rows=n))
    table.reserve_rows(n)
    fids = np.arange(n, dtype=np.uint64)
    parts = np.array_split(fids, 50)
    for part in parts:
        table.push(gradients(part), now_s=1)
    first = table.pull(fids)
    table.begin_seal()
    for i in range(0, 50, 2):
        table.push(gradients(parts[-i - 1]), now_s=2)
        table.gather(50_000)
    while not table.gather(500_000):
        pass
    change = table.finish_seal()
    np.testing.assert_array_equal(change.fids, fids)
    np.testing.assert_array_equal(change.weights, first)
    assert (change.last_seen_s == 1).all()
    later = table.seal()
    assert len(later.fids) == n // 2
    assert (later.last_seen_s == 2).all()


@given(seed=st.integers(0, 1_000), budget_rows=st.integers(1, 200))
@settings(max_examples=25, deadline=None)
def test_a_shards_block_is_of_the_cut_whatever_it_learns_meanwhile(
    seed: int, budget_rows: int
) -> None:
    by_and_by, at_once = make(), make()
    for epoch in range(4):
        pushes = [make_push(seed, 3 * epoch + i, 3 * epoch + i + 1) for i in range(3)]
        for shard in (by_and_by, at_once):
            shard.push(pushes[0])
        by_and_by.begin_seal(sealed_us=epoch)
        with pytest.raises(SealInProgressError):
            by_and_by.begin_seal(sealed_us=epoch)
        expected = at_once.seal(sealed_us=epoch)
        found = by_and_by.gather(budget_rows)
        for push in pushes[1:]:
            assert by_and_by.push(push) == at_once.push(push)
            found = found or by_and_by.gather(budget_rows)
        while found is None:
            found = by_and_by.gather(budget_rows)
        assert encode_block(found) == encode_block(expected)
        assert by_and_by.digest() == at_once.digest()
