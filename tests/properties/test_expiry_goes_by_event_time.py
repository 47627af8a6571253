"""Who has a row is a function of the stream: neither the hand's round nor a rebuilding changes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.admission import AdmitAfter
from ps.dense import DenseSpec, DenseStore
from ps.initializers import Initializer
from ps.messages import LogisticExamples
from ps.optimizers import AdaGrad, FtrlProximal
from ps.stream import Span
from ps.table import SlotPolicy, Table, TableSpec
from tests.ps.fids import fids_of, gradients

if TYPE_CHECKING:
    from ps.block import TableDelta
    from ps.optimizers import Optimizer

SLOTS = (
    SlotPolicy(1, ttl_s=5),
    SlotPolicy(2, ttl_s=20, admission=AdmitAfter(2)),
    SlotPolicy(3, ttl_s=1, learning_rate=0.5),
    SlotPolicy(4, admission=AdmitAfter(3)),
)
FIDS = [slot << 48 | number for slot in range(5) for number in range(12)]
ALL = fids_of(FIDS)

chosen = st.lists(st.sampled_from(FIDS), max_size=8, unique=True)
pushes = st.tuples(st.just("push"), chosen, st.integers(0, 6))
hands = st.tuples(st.just("expire"), st.integers(0, 30), st.just(0))
clocks = st.tuples(st.just("clock"), st.just(0), st.integers(0, 9))
rebuilds = st.tuples(st.sampled_from(["rebuild", "follow"]), st.just(0), st.just(0))
steps = st.lists(st.one_of(pushes, pushes, pushes, hands, clocks, rebuilds), max_size=40)


def make(width: int, optimizer: Optimizer) -> Table:
    initializer = Initializer("normal", 0.3) if width > 1 else Initializer()
    return Table(
        TableSpec(
            "t",
            width,
            optimizer,
            initializer,
            slots=SLOTS,
            capacity_rows=100,
            remembered_fids=10_000,
            admission_window_s=30,
        ),
        seed=5,
    )


def image(change: TableDelta) -> list[tuple[int, int, bytes, bytes]]:
    """Rows in the order of their fids, to be compared bit for bit."""
    return sorted(
        (int(change.fids[i]), int(change.last_seen_s[i]), w.tobytes(), s.tobytes())
        for i, (w, s) in enumerate(zip(change.weights, change.state, strict=True))
    )


def assert_same(left: Table, right: Table) -> None:
    assert image(left.export()) == image(right.export())
    np.testing.assert_array_equal(left.pull(ALL), right.pull(ALL))
    assert left.contains(ALL).tolist() == right.contains(ALL).tolist()
    assert left.stats().rows_admitted == right.stats().rows_admitted
    assert left.stats().occurrences_refused == right.stats().occurrences_refused


def rebuilt(table: Table, change: TableDelta, *, base: bool, reader: Table) -> Table:
    """reader, brought to where table is: by its export, or by what it sealed since."""
    counted = table.admission.export() if base else table.admission.delta()
    assert counted is not None
    reader.load(change, fresh=base)
    reader.admission.apply(counted, replace=base)
    reader.advance_clock(table.clock_s)
    reader.carry_on(table.tally())
    return reader


class Driver:
    """Does the same to a table that is swept and rebuilt all the time and to one that never is."""

    def __init__(self, width: int, optimizer: Optimizer) -> None:
        self.plain = make(width, optimizer)
        self.table = make(width, optimizer)
        self.reader = make(width, optimizer)
        self.width, self.optimizer = width, optimizer
        self.now_s = 0
        self.dense = [DenseStore([DenseSpec("d", (2,), FtrlProximal())], 0) for _ in range(2)]

    def push(self, fids: list[int]) -> None:
        wanted = gradients(fids_of(fids), 1.0, self.width)
        for one in (self.plain, self.table):
            one.check(wanted, now_s=self.now_s)
            one.push(wanted, now_s=self.now_s)

    def learn(self, fids: list[int]) -> None:
        for one, store in zip((self.plain, self.table), self.dense, strict=True):
            half = len(fids) // 2
            examples = LogisticExamples(
                Span("p", 0, 1),
                event_ts_us=0,
                ingest_us=0,
                generation=0,
                table="t",
                fids=fids_of(fids),
                offsets=np.array([0, half, len(fids)], dtype=np.int64),
                values=None,
                inputs=np.ones((2, 1), np.float32),
                labels=np.array([0, 1], np.float32),
                dense="d",
                distinct=True,
            )
            one.check_examples(examples, now_s=self.now_s)
            one.learn_logistic(examples, store.lend("d"), now_s=self.now_s)

    def step(self, what: str, argument: list[int] | int, seconds: int) -> None:
        self.now_s += seconds
        if isinstance(argument, list):
            if self.width == 1:
                self.learn(argument)
            else:
                self.push(argument)
        elif what == "expire":
            self.table.expire(now_s=self.now_s, budget_rows=argument)
            self.plain.advance_clock(self.now_s)
        elif what == "clock":
            self.plain.advance_clock(self.now_s)
            self.table.advance_clock(self.now_s)
        elif what == "rebuild":
            fresh = make(self.width, self.optimizer)
            fresh.reserve_rows(50)
            self.table = rebuilt(self.table, self.table.export(), base=True, reader=fresh)
            self.reader = rebuilt(
                self.table, self.table.export(), base=True, reader=make(self.width, self.optimizer)
            )
        else:
            rebuilt(self.table, self.table.seal(), base=False, reader=self.reader)
            assert_same(self.plain, self.reader)
        assert_same(self.plain, self.table)


@given(steps=steps)
@settings(max_examples=150, deadline=None)
def test_neither_the_hand_nor_a_rebuilding_changes_what_pushes_teach(
    steps: list[tuple[str, list[int] | int, int]],
) -> None:
    driver = Driver(3, AdaGrad())
    for step in steps:
        driver.step(*step)


@given(steps=steps)
@settings(max_examples=100, deadline=None)
def test_neither_the_hand_nor_a_rebuilding_changes_what_examples_teach(
    steps: list[tuple[str, list[int] | int, int]],
) -> None:
    driver = Driver(1, FtrlProximal(l1=0.01))
    for step in steps:
        driver.step(*step)


def test_a_table_full_of_overdue_rows_has_room_for_as_many_others() -> None:
    """Even where the hand has not come round yet; the refusal goes by the stream alone."""
    spec = TableSpec("t", 1, AdaGrad(), slots=(SlotPolicy(1, ttl_s=10),), capacity_rows=50)
    table = Table(spec)
    table.push(gradients(fids_of(range(40), slot=1)), now_s=0)
    table.push(gradients(fids_of(range(10))), now_s=5)
    newcomers = gradients(fids_of(range(100, 140), slot=1))
    table.check(newcomers, now_s=11)
    assert table.contains(fids_of(range(40), slot=1)).all()
    table.push(newcomers, now_s=11)
    assert len(table) == 50
    change = table.seal()
    assert sorted(change.removed.tolist()) == fids_of(range(40), slot=1).tolist()
    assert len(change.fids) == 50
    assert table.stats().rows_expired == 40


def test_a_push_may_cost_every_fid_one_expiry_and_one_eviction() -> None:
    """What leaves is listed in full, though more leaves than the push has fids."""
    spec = TableSpec(
        "t",
        1,
        AdaGrad(),
        slots=(SlotPolicy(1, ttl_s=10), SlotPolicy(2, ttl_s=10)),
        capacity_rows=2_000,
        on_full="evict",
    )
    table = Table(spec)
    first = fids_of(range(2_000), slot=1)
    table.push(gradients(first), now_s=0)
    table.forget_changes()
    table.push(gradients(np.concatenate([fids_of(range(3_000), slot=2), first])), now_s=11)
    change = table.seal()
    assert len(table) == 2_000
    tally = table.tally()
    assert tally.rows_expired == 2_000
    assert tally.rows_evicted == 3_000
    assert len(change.removed) == 5_000


def test_what_was_overdue_is_there_again_when_time_goes_back() -> None:
    """As after a rollback, in the table itself and in one that began with its export."""
    table, reader = make(3, AdaGrad()), make(3, AdaGrad())
    table.push(gradients(fids_of([5], slot=1), 1.0, 3), now_s=10)
    was = image(table.export())
    table.advance_clock(100)
    assert image(table.export()) == []
    assert image(table.export(with_overdue=True)) == was
    reader.load(table.export(with_overdue=True), fresh=True)
    for one in (table, reader):
        one.set_clock(15)
        assert image(one.export()) == was
        one.set_clock(16)
        assert image(one.export()) == []
