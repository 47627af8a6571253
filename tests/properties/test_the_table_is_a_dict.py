"""The table against a plain dict, whatever is done to it and in whatever order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ps.errors import TableFullError
from ps.initializers import Initializer
from ps.kernels.index import REMOVED
from ps.optimizers import Sgd
from ps.table import SlotPolicy, Table, TableSpec
from tests.ps.fids import fids_of, gradients, same_bucket, same_line_and_tag, same_lines

if TYPE_CHECKING:
    from ps.arrays import F32, U64

WIDTH = 3
CAPACITY_ROWS = 6_000
SEED = 11
# By slot: time to live, learning rate. Powers of two keep every weight exact.
SLOTS: dict[int, tuple[int | None, float | None]] = {
    1: (5, None),
    2: (50, 0.5),
    3: (None, 2.0),
    65_535: (1, None),
}
SPEC = TableSpec(
    "t",
    WIDTH,
    Sgd(learning_rate=1.0),
    Initializer("uniform", 0.125, leading_zeros=1),
    slots=tuple(
        SlotPolicy(slot, ttl_s, learning_rate=rate) for slot, (ttl_s, rate) in SLOTS.items()
    ),
    capacity_rows=CAPACITY_ROWS,
)

POOLS: dict[str, list[int]] = {
    "small": list(range(120)),
    "edges": [0, 1, (1 << 48) - 1, 1 << 48, (65_535 << 48), (1 << 64) - 1, (1 << 64) - 2],
    "slots": [slot << 48 | value for slot in SLOTS for value in range(30)],
    "one line and tag": same_line_and_tag(150),
    "both lines": same_lines(40, 8),
    "one bucket": same_bucket(80, 1_023),
}
ALL = sorted({fid for pool in POOLS.values() for fid in pool})

chosen = st.sampled_from(sorted(POOLS)).flatmap(
    lambda name: st.lists(st.sampled_from(POOLS[name]), min_size=0, max_size=60, unique=True)
)
seconds = st.integers(0, 120)


@dataclass
class ModelRow:
    weights: F32
    last_seen_s: int


class TableMachine(RuleBasedStateMachine):
    """`rows` is the table as a dict; touched and removed are what the next seal owes.

    What is overdue by the clock is still in `rows` until it is pushed to or the hand finds it; to
    readers it is missing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.table = Table(SPEC, seed=SEED)
        self.untouched = Table(SPEC, seed=SEED)
        self.rows: dict[int, ModelRow] = {}
        self.touched: set[int] = set()
        self.removed: list[int] = []
        self.clock_s = 0
        self.reader: dict[int, ModelRow] = {}
        self.bulk = 0

    @initialize(grow=st.booleans())
    def start(self, grow: bool) -> None:
        if grow:
            self.push_many(1_500, 3)

    def first_weights(self, fids: U64) -> F32:
        """What a row starts with: the table says so itself, of fids it has never had."""
        return self.untouched.pull(fids)

    def due(self, fid: int) -> bool:
        ttl_s, _ = SLOTS.get(fid >> 48, (None, None))
        return ttl_s is not None and self.rows[fid].last_seen_s + ttl_s < self.clock_s

    def has(self, fid: int) -> bool:
        return fid in self.rows and not self.due(fid)

    def forget(self, fids: list[int]) -> None:
        for fid in fids:
            del self.rows[fid]
            self.touched.discard(fid)
            self.removed.append(fid)

    @rule(chosen=chosen, now_s=seconds, size=st.integers(-4, 4))
    def push(self, chosen: list[int], now_s: int, size: int) -> None:
        fids = fids_of(chosen)
        grads = (np.arange(len(chosen) * WIDTH, dtype=np.float32) % 5 + size).reshape(-1, WIDTH)
        first = self.first_weights(fids)
        expired = self.table.stats().rows_expired
        created, refused = self.table.push(gradients(fids, grads), now_s=now_s)
        self.clock_s = max(self.clock_s, now_s)
        assert refused == 0
        assert created == sum(not self.has(fid) for fid in chosen)
        overdue = [fid for fid in chosen if fid in self.rows and self.due(fid)]
        assert self.table.stats().rows_expired - expired == len(overdue)
        self.forget(overdue)
        for i, fid in enumerate(chosen):
            row = self.rows.setdefault(fid, ModelRow(first[i], 0))
            rate = np.float32(SLOTS.get(fid >> 48, (None, None))[1] or 1.0)
            row.weights = row.weights - rate * grads[i]
            row.last_seen_s = max(row.last_seen_s, self.clock_s)
        self.touched.update(chosen)

    @precondition(lambda self: self.bulk < 3)
    @rule(count=st.integers(500, 1_500), slot=st.sampled_from([0, 1, 3]))
    def push_many(self, count: int, slot: int) -> None:
        """Thousands of fids of their own: the index splits its lines again and again."""
        first = 1_000_000 * (1 + self.bulk)
        self.bulk += 1
        self.push(list(fids_of(range(first, first + count), slot).tolist()), 1, 0)

    @rule(chosen=chosen)
    def pull(self, chosen: list[int]) -> None:
        before = self.table.export()
        fids = fids_of(chosen)
        expected = self.first_weights(fids)
        for i, fid in enumerate(chosen):
            if self.has(fid):
                expected[i] = self.rows[fid].weights
        weights, missing = self.table.pull_counted(fids)
        np.testing.assert_array_equal(weights, expected)
        assert missing == sum(not self.has(fid) for fid in chosen)
        assert self.table.contains(fids).tolist() == [self.has(fid) for fid in chosen]
        assert [self.table.inspect(fid) is not None for fid in chosen[:5]] == [
            self.has(fid) for fid in chosen[:5]
        ]
        after = self.table.export()
        np.testing.assert_array_equal(before.fids, after.fids)

    @rule(chosen=chosen)
    def remove(self, chosen: list[int]) -> None:
        present = [fid for fid in chosen if fid in self.rows]
        assert self.table.remove(fids_of(chosen)) == len(present)
        self.forget(present)

    @rule(chosen=chosen, now_s=seconds)
    def upsert(self, chosen: list[int], now_s: int) -> None:
        weights = np.arange(len(chosen) * WIDTH, dtype=np.float32).reshape(-1, WIDTH)
        times = np.full(len(chosen), now_s, dtype=np.uint32)
        self.table.upsert(fids_of(chosen), weights, np.empty((len(chosen), 0), np.float32), times)
        self.rows.update({fid: ModelRow(w, now_s) for fid, w in zip(chosen, weights, strict=True)})
        self.touched.update(chosen)

    @rule(now_s=seconds)
    def expire_all(self, now_s: int) -> None:
        self.clock_s = max(self.clock_s, now_s)
        due = [fid for fid in self.rows if self.due(fid)]
        assert self.table.expire(now_s=now_s, budget_rows=CAPACITY_ROWS) == len(due)
        self.forget(due)

    @rule(now_s=seconds, budget_rows=st.integers(0, 40))
    def expire_some(self, now_s: int, budget_rows: int) -> None:
        self.clock_s = max(self.clock_s, now_s)
        removed = int(self.table._rows.arrays.counters[REMOVED])
        freed = self.table.expire(now_s=now_s, budget_rows=budget_rows)
        assert freed <= budget_rows
        gone = self.table._rows.removed[removed : removed + freed].tolist()
        assert all(self.due(fid) for fid in gone)
        self.forget(gone)

    @rule(now_s=seconds)
    def advance_clock(self, now_s: int) -> None:
        self.table.advance_clock(now_s)
        self.clock_s = max(self.clock_s, now_s)

    @rule()
    def overfill(self) -> None:
        alive = [fid for fid in self.rows if self.has(fid)]
        missing = fids_of(range(1 << 40, (1 << 40) + CAPACITY_ROWS + 1 - len(alive)))
        present = fids_of(alive)
        before = self.table.stats()
        wanted = gradients(np.concatenate([missing, present]), 1.0, WIDTH)
        with pytest.raises(TableFullError):
            self.table.check(wanted)
        with pytest.raises(TableFullError):
            self.table.upsert(
                missing,
                np.zeros((len(missing), WIDTH), np.float32),
                np.empty((len(missing), 0), np.float32),
                np.zeros(len(missing), np.uint32),
            )
        assert self.table.stats() == before
        self.table.check(gradients(np.concatenate([missing[1:], present]), 1.0, WIDTH))

    @rule()
    def seal(self) -> None:
        delta = self.table.seal()
        assert sorted(delta.fids.tolist()) == sorted(self.touched)
        assert sorted(delta.removed.tolist()) == sorted(self.removed)
        assert delta.state.shape == (len(delta.fids), 0)
        for fid, seen_s, weights in zip(
            delta.fids.tolist(), delta.last_seen_s.tolist(), delta.weights, strict=True
        ):
            assert seen_s == self.rows[fid].last_seen_s
            np.testing.assert_array_equal(weights, self.rows[fid].weights)
        for fid in delta.removed.tolist():
            self.reader.pop(fid, None)
        self.reader.update(
            {fid: ModelRow(w, 0) for fid, w in zip(delta.fids.tolist(), delta.weights, strict=True)}
        )
        assert self.reader.keys() == self.rows.keys()
        self.touched.clear()
        self.removed.clear()

    @rule()
    def export(self) -> None:
        everything = self.table.export()
        assert sorted(everything.fids.tolist()) == sorted(filter(self.has, self.rows))
        assert everything.removed.size == 0
        for fid, seen_s, weights in zip(
            everything.fids.tolist(),
            everything.last_seen_s.tolist(),
            everything.weights,
            strict=True,
        ):
            assert seen_s == self.rows[fid].last_seen_s
            np.testing.assert_array_equal(weights, self.rows[fid].weights)

    @invariant()
    def as_many_rows(self) -> None:
        assert len(self.table) == len(self.rows)

    def teardown(self) -> None:
        self.pull(ALL)
        self.export()
        self.seal()


TestTheTableIsADict = TableMachine.TestCase
TestTheTableIsADict.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)


@given(
    batches=st.lists(
        st.lists(st.sampled_from(ALL), max_size=80, unique=True), min_size=1, max_size=25
    )
)
@settings(max_examples=50, deadline=None)
def test_with_gradient_minus_one_a_weight_is_the_number_of_occurrences(
    batches: list[list[int]],
) -> None:
    table = Table(TableSpec("count", 1, Sgd(learning_rate=1.0), capacity_rows=2_000))
    counts: dict[int, int] = {}
    for batch in batches:
        table.push(gradients(fids_of(batch)), now_s=0)
        for fid in batch:
            counts[fid] = counts.get(fid, 0) + 1
    everything = table.export()
    found = dict(zip(everything.fids.tolist(), everything.weights[:, 0].tolist(), strict=True))
    assert found == counts
