"""Taking rows over in bulk: quietly, in any order, and as the table they came from had them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ps.block import TableDelta, TableTally
from ps.errors import ShapeError, TableFullError
from ps.kernels import index
from ps.optimizers import AdaGrad, Sgd
from ps.table import SlotPolicy, Table, TableSpec
from tests.ps.fids import fids_of, gradients, same_line_and_tag, same_lines

if TYPE_CHECKING:
    from ps.arrays import U64

SPEC = TableSpec("t", 5, AdaGrad(), capacity_rows=60_000)


def taught(fids: U64, spec: TableSpec = SPEC) -> Table:
    table = Table(spec)
    grads = np.random.default_rng(3).standard_normal((len(fids), spec.width), dtype=np.float32)
    for now_s in (3, 4):
        table.push(gradients(fids, grads), now_s=now_s)
    return table


def assert_same_rows(left: Table, right: Table) -> None:
    a, b = left.export(), right.export()
    by_a, by_b = np.argsort(a.fids), np.argsort(b.fids)
    for name in ("fids", "last_seen_s", "weights", "state"):
        np.testing.assert_array_equal(getattr(a, name)[by_a], getattr(b, name)[by_b])


def none_changed(table: Table) -> bool:
    change = table.seal()
    return change.fids.size == change.removed.size == 0


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("reserved", [0, 100, 20_000, 1 << 40])
@pytest.mark.parametrize("rows", [0, 1, 31, 32, 33, 65, 20_000])
def test_loaded_rows_are_the_rows_and_no_change(rows: int, reserved: int, fresh: bool) -> None:
    original = taught(fids_of(range(rows)))
    table = Table(SPEC)
    table.reserve_rows(reserved)
    table.load(original.export(), fresh=fresh)
    assert len(table) == rows
    assert_same_rows(original, table)
    assert table.contains(fids_of(range(rows))).all()
    assert not table.contains(fids_of(range(rows, rows + 1_000))).any()
    assert none_changed(table)
    if rows:
        table.push(gradients(fids_of([0]), 1.0, 5), now_s=9)
        assert table.seal().fids.tolist() == [0]


@pytest.mark.parametrize("fids", [same_line_and_tag(300), same_lines(60, 14)], ids=["tag", "lines"])
def test_keys_made_to_collide_are_loaded_all_the_same(fids: list[int]) -> None:
    original = taught(fids_of(fids))
    table = Table(SPEC)
    table.reserve_rows(len(fids))
    table.load(original.export(), fresh=True)
    assert_same_rows(original, table)
    assert table.contains(fids_of(fids)).all()


def test_a_reserved_index_does_not_grow_under_what_it_was_reserved_for() -> None:
    table = Table(SPEC)
    table.reserve_rows(50_000)
    lines = int(table._rows.arrays.counters[index.N_LINES])
    table.load(taught(fids_of(range(50_000))).export(), fresh=True)
    assert int(table._rows.arrays.counters[index.N_LINES]) == lines
    assert 50_000 / (lines * index.PLACES) > 0.85
    table.reserve_rows(60_000)
    assert int(table._rows.arrays.counters[index.N_LINES]) == lines
    table.push(gradients(fids_of(range(60_000)), 1.0, 5), now_s=9)
    assert table.contains(fids_of(range(60_000))).all()


def test_loading_removes_first_and_overwrites_what_is_there() -> None:
    table = taught(fids_of(range(100)))
    table.forget_changes()
    later = taught(fids_of(range(50, 150)))
    later.push(gradients(fids_of(range(50, 150)), 1.0, 5), now_s=8)
    change = replace(later.export(), removed=fids_of(range(60)))
    table.load(change)
    assert len(table) == 100
    assert_same_rows(table, later)
    assert none_changed(table)


def test_what_changed_before_a_load_stays_changed() -> None:
    table = taught(fids_of(range(10)))
    table.remove(fids_of([3]))
    table.load(taught(fids_of(range(5, 20))).export())
    change = table.seal()
    assert sorted(change.fids.tolist()) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert change.removed.tolist() == [3]


def test_a_load_that_does_not_fit_is_refused() -> None:
    small = Table(replace(SPEC, capacity_rows=50))
    change = taught(fids_of(range(51))).export()
    for fresh in (False, True):
        with pytest.raises(TableFullError):
            small.load(change, fresh=fresh)
        with pytest.raises(ShapeError):
            small.load(replace(change, weights=change.weights[:, :3]), fresh=fresh)
    assert len(small) == 0


def test_arrays_may_be_read_only_strided_or_out_of_line() -> None:
    """As they come out of a file: none of them may compile a kernel of its own."""
    original = taught(fids_of(range(500)))
    change = original.export()
    shifted = {
        name: np.frombuffer(b"\0" + getattr(change, name).tobytes(), np.uint8)[1:]
        .view(getattr(change, name).dtype)
        .reshape(getattr(change, name).shape)
        for name in ("fids", "last_seen_s", "weights", "state")
    }
    assert not shifted["fids"].flags.aligned
    for fresh in (False, True):
        table = Table(SPEC)
        table.load(TableDelta(**shifted, removed=change.removed), fresh=fresh)
        assert_same_rows(original, table)
        assert not change.fids.flags.writeable
        np.testing.assert_array_equal(table.pull(change.fids), original.pull(change.fids))


def test_marking_fids_as_changed_hands_them_over_again() -> None:
    table = taught(fids_of(range(10)))
    table.forget_changes()
    assert none_changed(table)
    table.mark_changed(fids_of([2, 3, 77, 2, 78]))
    change = table.seal()
    assert change.fids.tolist() == [2, 3]
    assert change.removed.tolist() == [77, 78]
    assert none_changed(table)


def test_forgotten_changes_are_not_sealed_but_later_ones_are() -> None:
    table = taught(fids_of(range(100)))
    table.remove(fids_of([7]))
    table.forget_changes()
    table.push(gradients(fids_of([5]), 1.0, 5), now_s=9)
    change = table.seal()
    assert (change.fids.tolist(), change.removed.tolist()) == ([5], [])


def test_a_tally_is_carried_on() -> None:
    spec = TableSpec("t", 1, Sgd(1.0), slots=(SlotPolicy(1, ttl_s=5),), capacity_rows=100)
    table, heir = Table(spec), Table(spec)
    table.push(gradients(fids_of(range(10), slot=1)), now_s=0)
    table.expire(now_s=9, budget_rows=100)
    assert table.tally() == TableTally(rows_admitted=10, rows_expired=10)
    heir.carry_on(table.tally())
    assert heir.tally() == table.tally()
    heir.push(gradients(fids_of(range(3))), now_s=9)
    assert heir.stats().rows_admitted == 13
