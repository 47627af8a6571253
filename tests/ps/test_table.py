"""The table: rows of any width under any optimizer, edges of keys, times and arrays."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ps.admission import AdmitAfter, AdmitWithProbability
from ps.errors import ShapeError, TableFullError
from ps.initializers import Initializer
from ps.messages import RowGradients
from ps.optimizers import (
    AdaGrad,
    Adam,
    FtrlProximal,
    GroupLassoFtrl,
    Momentum,
    Optimizer,
    RowwiseAdaGrad,
    Sgd,
)
from ps.table import SlotPolicy, Table, TableSpec
from tests.ps.fids import fids_of, gradients
from tests.ps.optimizer_reference import reference

if TYPE_CHECKING:
    from ps.arrays import U64

OPTIMIZERS: list[Optimizer] = [
    Sgd(0.1),
    Momentum(0.1, 0.9),
    AdaGrad(0.1),
    RowwiseAdaGrad(0.1),
    Adam(0.01),
    FtrlProximal(0.2, l1=0.05),
    GroupLassoFtrl(0.2, l1=0.01),
]
LARGEST = (1 << 64) - 1


def counting(**changes: object) -> Table:
    spec = TableSpec("t", 1, Sgd(learning_rate=1.0), capacity_rows=10_000)
    return Table(replace(spec, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: optimizer.name)
@pytest.mark.parametrize("width", [1, 2, 16, 17, 64, 300])
def test_a_row_follows_its_optimizers_paper(optimizer: Optimizer, width: int) -> None:
    """Many rows at once, unequal numbers of steps, reads in between, records of any stride."""
    rng = np.random.default_rng(width)
    table = Table(TableSpec("t", width, optimizer, Initializer("normal", 0.3), capacity_rows=2_000))
    fids = fids_of(range(70), slot=9)
    steps = [reference(optimizer, w.astype(np.float64)) for w in table.pull(fids)]
    expected = table.pull(fids).astype(np.float64)
    for _ in range(6):
        chosen = np.sort(rng.choice(70, 45, replace=False))
        grads = rng.standard_normal((45, width), dtype=np.float32)
        table.push(gradients(fids[chosen], grads), now_s=1)
        for i, number in enumerate(chosen):
            expected[number] = steps[number](grads[i].astype(np.float64))
        np.testing.assert_allclose(table.pull(fids), expected, rtol=2e-4, atol=3e-5)


@pytest.mark.parametrize("kind", ["zeros", "uniform", "normal"])
@pytest.mark.parametrize("width", [1, 5, 17])
def test_a_row_starts_at_what_it_read_as_before_it_was_made(kind: str, width: int) -> None:
    initializer = Initializer(kind, 0.0 if kind == "zeros" else 0.2, leading_zeros=1)  # type: ignore[arg-type]
    table = Table(TableSpec("t", width, Sgd(1.0), initializer, capacity_rows=1_000), seed=4)
    fids = np.concatenate([fids_of(range(50)), fids_of([0, LARGEST, LARGEST - 1, 1 << 48])])
    fids = np.unique(fids)
    before = table.pull(fids)
    assert len(table) == 0
    table.push(gradients(fids, 0.0, width), now_s=0)
    assert len(table) == len(fids)
    np.testing.assert_array_equal(table.pull(fids), before)
    table.remove(fids)
    np.testing.assert_array_equal(table.pull(fids), before)


def test_a_recycled_row_keeps_nothing_of_the_fid_before() -> None:
    table = Table(TableSpec("t", 3, Adam(), Initializer("normal", 0.2), capacity_rows=100), seed=1)
    fresh = Table(TableSpec("t", 3, Adam(), Initializer("normal", 0.2), capacity_rows=100), seed=1)
    old, new = fids_of(range(20)), fids_of(range(20, 40))
    for _ in range(3):
        table.push(gradients(old, 5.0, 3), now_s=5)
    change = table.export()
    table.apply(replace(change, last_seen_s=np.full(20, 100, dtype=np.uint32)))
    table.remove(old)
    for one in (table, fresh):
        one.push(gradients(new, 1.0, 3), now_s=7)
    left, right = table.export(), fresh.export()
    order = np.argsort(left.fids)
    for name in ("fids", "last_seen_s", "weights", "state"):
        np.testing.assert_array_equal(getattr(left, name)[order], getattr(right, name))


@pytest.mark.parametrize("admission", [AdmitAfter(3), AdmitWithProbability(1e-9)])
def test_with_admission_a_missing_fid_reads_as_zeros(
    admission: AdmitAfter | AdmitWithProbability,
) -> None:
    table = Table(
        TableSpec(
            "t",
            4,
            Sgd(1.0),
            Initializer("normal", 0.3),
            slots=(SlotPolicy(1, admission=admission),),
            capacity_rows=100,
            remembered_fids=1_000,
        )
    )
    assert not table.pull(fids_of(range(5), slot=1)).any()
    assert table.pull(fids_of(range(5), slot=2)).all()
    created, refused = table.push(gradients(fids_of(range(5), slot=1), 1.0, 4, count=2), now_s=0)
    assert (created, refused) == (0, 10)
    assert not table.pull(fids_of(range(5), slot=1)).any()


@pytest.mark.parametrize("occurrences", [2, 15, 16, 17, 300])
def test_a_threshold_above_fifteen_admits(occurrences: int) -> None:
    """Monolith counts in four bits, so that its thresholds above 15 can never be reached."""
    table = Table(
        TableSpec(
            "t",
            2,
            Sgd(1.0),
            Initializer("normal", 0.3),
            slots=(SlotPolicy(1, admission=AdmitAfter(occurrences)),),
            capacity_rows=100,
            remembered_fids=1_000,
        ),
        seed=3,
    )
    open_to_all = Table(
        TableSpec("t", 2, Sgd(1.0), Initializer("normal", 0.3), capacity_rows=100), seed=3
    )
    fids = fids_of(range(8), slot=1)
    for _ in range(occurrences - 1):
        assert table.push(gradients(fids, 1.0, 2), now_s=0)[0] == 0
    assert table.push(gradients(fids, 1.0, 2), now_s=0) == (8, 0)
    # The row starts at the fid's own initial value, not at the zeros it read as.
    open_to_all.push(gradients(fids, 1.0, 2), now_s=0)
    np.testing.assert_array_equal(table.pull(fids), open_to_all.pull(fids))


def test_a_slot_learns_at_its_own_rate() -> None:
    table = counting(
        slots=(SlotPolicy(1, learning_rate=0.25), SlotPolicy(65_535, learning_rate=4.0))
    )
    fids = fids_of([7, 1 << 48 | 7, 2 << 48 | 7, 65_535 << 48 | 7])
    table.push(gradients(fids), now_s=0)
    table.push(gradients(fids), now_s=0)
    assert table.pull(fids)[:, 0].tolist() == [2.0, 0.5, 2.0, 8.0]


def test_extreme_fids_are_fids_like_others() -> None:
    table = counting()
    fids = fids_of([0, 1, LARGEST, LARGEST - 1, (1 << 48) - 1, 65_535 << 48, 1 << 63])
    for _ in range(3):
        table.push(gradients(fids), now_s=0)
    assert table.pull(fids)[:, 0].tolist() == [3.0] * len(fids)
    assert table.remove(fids[:3]) == 3
    # A freed row's key is a link to another: no fid must be taken for it.
    assert table.contains(fids).tolist() == [False] * 3 + [True] * 4
    assert table.pull(fids)[:, 0].tolist() == [0.0] * 3 + [3.0] * 4
    table.push(gradients(fids), now_s=0)
    assert table.pull(fids)[:, 0].tolist() == [1.0] * 3 + [4.0] * 4


def test_a_link_between_freed_rows_is_no_key() -> None:
    """Freed rows hold each other's numbers where keys were, and small integers are fids."""
    table = counting()
    many = fids_of(range(1_000, 1_200))
    table.push(gradients(many), now_s=0)
    table.remove(many)
    assert not table.contains(fids_of(range(300))).any()
    table.push(gradients(fids_of(range(100))), now_s=0)
    assert len(table) == 100
    assert table.contains(fids_of(range(200))).tolist() == [True] * 100 + [False] * 100


def test_a_fid_twice_in_a_push_is_learned_twice() -> None:
    table = counting()
    for _ in range(2):
        table.push(gradients(fids_of([5, 6, 5, 7, 5])), now_s=0)
    assert len(table) == 3
    assert table.pull(fids_of([5, 6, 7]))[:, 0].tolist() == [6.0, 2.0, 2.0]
    assert sorted(table.export().fids.tolist()) == [5, 6, 7]


def test_nothing_is_nothing() -> None:
    table = counting(slots=(SlotPolicy(1, ttl_s=1),))
    nothing = fids_of([])
    assert table.pull(nothing).shape == (0, 1)
    assert table.push(gradients(nothing), now_s=0) == (0, 0)
    assert table.remove(nothing) == 0
    assert table.contains(nothing).shape == (0,)
    assert table.expire(now_s=100, budget_rows=10) == 0
    table.upsert(
        nothing, np.empty((0, 1), np.float32), nothing.astype(np.float32), np.empty(0, np.uint32)
    )
    for change in (table.seal(), table.export()):
        assert change.weights.shape == (0, 1)
        assert change.fids.size == change.removed.size == 0


def test_time_that_runs_backwards_makes_no_row_older() -> None:
    table = counting()
    for now_s in (100, 40, -5, 0):
        table.push(gradients(fids_of([1])), now_s=now_s)
    row = table.inspect(1)
    assert row is not None
    assert row.last_seen_s == 100
    assert row.weights.tolist() == [4.0]
    assert table.inspect(2) is None
    table.push(gradients(fids_of([3])), now_s=-7)
    late = table.inspect(3)
    assert late is not None
    assert late.last_seen_s == table.clock_s == 100
    other = counting()
    other.push(gradients(fids_of([3])), now_s=-7)
    before_time = other.inspect(3)
    assert before_time is not None
    assert before_time.last_seen_s == 0


def strided(values: np.ndarray) -> np.ndarray:
    """The same values, every other place of memory."""
    wide = np.zeros((*values.shape[:-1], 2 * values.shape[-1]), dtype=values.dtype)
    wide[..., ::2] = values
    wide[..., 1::2] = 77
    return wide[..., ::2]


def test_arrays_need_not_be_contiguous() -> None:
    spec = TableSpec(
        "t",
        3,
        AdaGrad(),
        Initializer("normal", 0.2),
        slots=(SlotPolicy(1, admission=AdmitAfter(5)),),
        capacity_rows=500,
        remembered_fids=1_000,
    )
    plain, other = Table(spec), Table(spec)
    fids = fids_of(range(40), slot=1)
    grads = np.random.default_rng(0).standard_normal((40, 3), dtype=np.float32)
    counts = np.arange(40, dtype=np.uint32)
    plain.push(RowGradients(fids, grads, counts), now_s=1)
    other.push(RowGradients(strided(fids), np.asfortranarray(grads), strided(counts)), now_s=1)
    assert len(plain) == 35
    np.testing.assert_array_equal(other.pull(strided(fids)), plain.pull(fids))
    np.testing.assert_array_equal(other.contains(strided(fids)), plain.contains(fids))
    change = plain.export()
    other.upsert(
        strided(change.fids),
        np.asfortranarray(change.weights),
        strided(change.state),
        strided(change.last_seen_s + np.uint32(3)),
    )
    np.testing.assert_array_equal(other.export().state, change.state)
    assert set(other.export().last_seen_s.tolist()) == {4}
    assert other.remove(strided(fids)) == 35


def wrong_gradients() -> list[RowGradients]:
    good = gradients(fids_of(range(4)), 1.0, 3)
    return [
        replace(good, fids=good.fids.astype(np.int64)),
        replace(good, fids=good.fids.reshape(2, 2)),
        replace(good, grads=good.grads.astype(np.float64)),
        replace(good, grads=good.grads[:, :2]),
        replace(good, grads=good.grads[:3]),
        replace(good, grads=good.grads.reshape(-1)),
        replace(good, counts=good.counts.astype(np.int64)),
        replace(good, counts=good.counts[:3]),
    ]


@pytest.mark.parametrize("number", range(8))
def test_arrays_of_another_shape_or_type_are_refused(number: int) -> None:
    table = Table(TableSpec("t", 3, Sgd(1.0), capacity_rows=100))
    with pytest.raises(ShapeError):
        table.check(wrong_gradients()[number])


def test_fids_of_another_type_are_refused_everywhere() -> None:
    table = counting()
    for fids in (np.arange(4), np.arange(4, dtype=np.uint32), np.arange(4, dtype=">u8")):
        wrong: U64 = fids  # type: ignore[assignment]
        for call in (table.pull, table.contains, table.remove):
            with pytest.raises(ShapeError):
                call(wrong)


@pytest.mark.parametrize("what", ["weights", "state", "last_seen_s", "fids"])
def test_whole_rows_of_another_shape_are_refused(what: str) -> None:
    """They go straight to memory: nothing may be read past their end."""
    table = Table(TableSpec("t", 3, Adam(), capacity_rows=100))
    table.push(gradients(fids_of(range(5)), 1.0, 3), now_s=1)
    change = table.export()
    array = getattr(change, what)
    shorter = [array[:-1], array.astype(np.float64)]
    if array.ndim == 2:
        shorter.append(array[:, :-1])
    for wrong in shorter:
        with pytest.raises(ShapeError):
            table.apply(replace(change, **{what: wrong}, removed=fids_of([0])))
    assert len(table) == 5


def test_a_full_table_refuses_whole_pushes_only() -> None:
    table = counting(capacity_rows=10)
    table.push(gradients(fids_of(range(8))), now_s=0)
    table.check(gradients(fids_of(range(10))))
    with pytest.raises(TableFullError, match="on_full: evict"):
        table.check(gradients(fids_of(range(11))))
    table.push(gradients(fids_of(range(10))), now_s=0)
    table.check(gradients(fids_of(range(10))))
    with pytest.raises(TableFullError):
        table.check(gradients(fids_of([99])))
    table.remove(fids_of([4]))
    table.check(gradients(fids_of([99])))


def test_one_new_fid_needs_one_row_however_often_it_comes() -> None:
    table = counting(capacity_rows=10)
    table.push(gradients(fids_of(range(9))), now_s=0)
    table.check_room(fids_of([77] * 20))
    with pytest.raises(TableFullError):
        table.check_room(fids_of([77] * 20 + [78]))


def test_a_full_table_may_evict_the_longest_unseen() -> None:
    table = counting(capacity_rows=20, on_full="evict")
    for number in reversed(range(20)):
        table.push(gradients(fids_of([number])), now_s=100 - number)
    table.seal()
    table.push(gradients(fids_of([500, 501, 502])), now_s=200)
    assert len(table) == 20
    assert table.contains(fids_of([500, 501, 502, 19, 18, 17, 16])).tolist() == [
        True, True, True, False, False, False, True,
    ]  # fmt: skip
    delta = table.seal()
    assert sorted(delta.removed.tolist()) == [17, 18, 19]
    assert table.stats().rows_evicted == 3


def test_a_batch_larger_than_the_table_evicts_from_itself() -> None:
    table = counting(capacity_rows=16, on_full="evict")
    for step in range(5):
        table.push(gradients(fids_of(range(step * 50, step * 50 + 50))), now_s=step)
        assert len(table) == 16
        everything = table.export()
        assert len(set(everything.fids.tolist())) == 16
        assert (everything.weights == 1.0).all()
    delta = table.seal()
    assert sorted(delta.fids.tolist()) == sorted(everything.fids.tolist())
    assert len(delta.removed) == 250 - 16


def test_every_row_ever_used_may_be_full_of_other_fids_many_times() -> None:
    """Rows come back: after any number of rounds the table is as large as after the first."""
    table = Table(
        TableSpec("t", 8, AdaGrad(), slots=(SlotPolicy(1, ttl_s=10),), capacity_rows=50_000)
    )
    sizes = []
    for step in range(10):
        now_s = 100 * step
        table.expire(now_s=now_s, budget_rows=50_000)
        assert len(table) == 0
        fids = fids_of(range(step * 20_000, (step + 1) * 20_000), slot=1)
        table.push(gradients(fids, 1.0, 8), now_s=now_s)
        delta = table.seal()
        assert len(delta.fids) == 20_000
        assert len(delta.removed) == (20_000 if step else 0)
        sizes.append(table.allocated_bytes)
    assert sizes == [sizes[0]] * 10


def test_committing_memory_ahead_leaves_rows_as_they_are() -> None:
    table = counting(capacity_rows=1_000)
    fids = fids_of(range(500))
    table.push(gradients(fids, -1.0), now_s=1)
    before = table.pull(fids)
    # More than there is room for is no more than that.
    for rows in (0, 100, 1_000, 1 << 40):
        table.commit_memory(rows)
    np.testing.assert_array_equal(table.pull(fids), before)
    assert len(table) == 500
