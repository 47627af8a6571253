"""What a seal hands over: every row that changed, in full, and every one that left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from ps.optimizers import AdaGrad, Adam, Sgd
from ps.table import SlotPolicy, Table, TableSpec
from tests.ps.fids import fids_of, gradients

if TYPE_CHECKING:
    from ps.block import TableDelta

SPEC = TableSpec("t", 5, AdaGrad(), slots=(SlotPolicy(1, ttl_s=10),), capacity_rows=2_000)


def rows(change: TableDelta) -> dict[int, tuple[int, bytes, bytes]]:
    return {
        fid: (seen_s, weights.tobytes(), state.tobytes())
        for fid, seen_s, weights, state in zip(
            change.fids.tolist(),
            change.last_seen_s.tolist(),
            change.weights,
            change.state,
            strict=True,
        )
    }


def test_a_million_keys_between_two_seals_are_all_handed_over() -> None:
    """Monolith drops the rest once its list of touched keys is full, and sends no deletions."""
    n = 1_000_000
    spec = TableSpec("t", 1, Sgd(learning_rate=1.0), capacity_rows=n)
    table, reader = Table(spec), Table(spec, with_state=False)
    fids = np.arange(n, dtype=np.uint64)
    for begin in range(0, n, 100_000):
        table.push(gradients(fids[begin : begin + 100_000]), now_s=0)
    first = table.seal()
    assert np.array_equal(np.sort(first.fids), fids)
    assert (first.weights == 1.0).all()
    reader.apply(first)
    table.push(gradients(fids), now_s=0)
    table.remove(fids[::2])
    second = table.seal()
    assert np.array_equal(np.sort(second.fids), fids[1::2])
    assert np.array_equal(np.sort(second.removed), fids[::2])
    reader.apply(second)
    assert len(reader) == n // 2
    assert np.array_equal(reader.pull(fids)[:, 0], np.tile(np.array([0, 2], np.float32), n // 2))
    assert len(table.seal().fids) == 0


def test_a_reader_of_deltas_has_what_the_table_has() -> None:
    rng = np.random.default_rng(2)
    table, reader = Table(SPEC), Table(SPEC)
    for step in range(60):
        fids = fids_of(np.unique(rng.integers(0, 300, 40)).tolist(), slot=step % 2)
        grads = rng.standard_normal((len(fids), 5), dtype=np.float32)
        table.push(gradients(fids, grads), now_s=step)
        if step % 5 == 0:
            table.remove(fids[::3])
        table.expire(now_s=step, budget_rows=200)
        if step % 4 == 0:
            reader.apply(table.seal())
            reader.advance_clock(table.clock_s)
            assert rows(reader.export()) == rows(table.export())


def test_a_fid_that_left_and_came_back_is_in_both_lists() -> None:
    table, reader = Table(SPEC), Table(SPEC)
    fids = fids_of([1, 2, 3])
    table.push(gradients(fids, 1.0, 5), now_s=3)
    reader.apply(table.seal())
    table.remove(fids)
    table.push(gradients(fids[:1], 2.0, 5), now_s=4)
    delta = table.seal()
    assert delta.fids.tolist() == [1]
    assert sorted(delta.removed.tolist()) == [1, 2, 3]
    reader.apply(delta)
    assert rows(reader.export()) == rows(table.export())


def test_a_fid_that_came_and_left_is_only_listed_as_gone() -> None:
    table = Table(SPEC)
    table.push(gradients(fids_of([1, 2]), 1.0, 5), now_s=3)
    table.remove(fids_of([2]))
    delta = table.seal()
    assert (delta.fids.tolist(), delta.removed.tolist()) == ([1], [2])
    empty = table.seal()
    assert empty.fids.size == empty.removed.size == 0


def test_an_export_takes_nothing_from_the_next_seal() -> None:
    table = Table(SPEC)
    table.push(gradients(fids_of(range(9)), 1.0, 5), now_s=3)
    table.remove(fids_of([4]))
    everything = table.export()
    sealed = table.seal()
    assert rows(everything) == rows(sealed)
    assert everything.removed.size == 0
    assert sealed.removed.tolist() == [4]


def test_what_was_handed_over_never_changes() -> None:
    table = Table(SPEC)
    fids = fids_of(range(9))
    table.push(gradients(fids, 1.0, 5), now_s=3)
    sealed, everything = table.seal(), table.export()
    before = rows(sealed)
    table.push(gradients(fids, 1.0, 5), now_s=4)
    table.remove(fids[:3])
    assert rows(sealed) == rows(everything) == before
    for array in (sealed.fids, sealed.weights, sealed.state, sealed.last_seen_s, sealed.removed):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_a_reader_without_optimizer_state_reads_the_same_weights() -> None:
    spec = TableSpec("t", 5, Adam(), capacity_rows=500)
    table, reader = Table(spec), Table(spec, with_state=False)
    fids = fids_of(range(100))
    table.push(gradients(fids, 1.0, 5), now_s=3)
    delta = table.seal()
    assert delta.state.shape == (100, spec.state_width)
    reader.apply(delta)
    np.testing.assert_array_equal(reader.pull(fids), table.pull(fids))
    assert reader.export().state.shape == (100, 0)
    assert reader.allocated_bytes < table.allocated_bytes


def test_more_removals_than_there_was_room_for_at_first() -> None:
    table = Table(TableSpec("t", 1, Sgd(1.0), slots=(SlotPolicy(1, ttl_s=1),), capacity_rows=9_000))
    fids = fids_of(range(8_000), slot=1)
    table.push(gradients(fids), now_s=0)
    table.remove(fids[:3_000])
    table.expire(now_s=100, budget_rows=2_000)
    table.expire(now_s=100, budget_rows=8_000)
    assert sorted(table.seal().removed.tolist()) == sorted(fids.tolist())
