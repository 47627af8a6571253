"""Expiry: who leaves, exactly when, and how the hand goes round."""

from __future__ import annotations

import numpy as np
import pytest

from ps.optimizers import Sgd
from ps.table import SlotPolicy, Table, TableSpec
from tests.ps.fids import fids_of, gradients


def make(ttl_s: int | None = 10, capacity_rows: int = 5_000) -> Table:
    return Table(
        TableSpec(
            "t",
            1,
            Sgd(learning_rate=1.0),
            slots=(SlotPolicy(1, ttl_s=ttl_s), SlotPolicy(2, ttl_s=1_000)),
            capacity_rows=capacity_rows,
        )
    )


@pytest.mark.parametrize(("now_s", "left"), [(0, 1), (109, 1), (110, 1), (111, 0)])
def test_a_row_leaves_once_more_than_its_time_to_live_has_passed(now_s: int, left: int) -> None:
    table = make()
    table.push(gradients(fids_of([5], slot=1)), now_s=100)
    assert table.expire(now_s=now_s, budget_rows=100) == 1 - left
    assert len(table) == left


def test_each_slot_has_its_own_time() -> None:
    table = make()
    fids = np.concatenate([fids_of(range(100), slot) for slot in (0, 1, 2)])
    table.push(gradients(fids), now_s=0)
    assert table.expire(now_s=11, budget_rows=1_000) == 100
    assert table.contains(fids).tolist() == [True] * 100 + [False] * 100 + [True] * 100
    assert table.expire(now_s=1_001, budget_rows=1_000) == 100
    assert len(table) == 100


def test_what_is_seen_again_stays() -> None:
    table = make()
    table.push(gradients(fids_of(range(10), slot=1)), now_s=0)
    table.push(gradients(fids_of(range(5), slot=1)), now_s=8)
    assert table.expire(now_s=15, budget_rows=100) == 5
    assert table.contains(fids_of(range(10), slot=1)).tolist() == [True] * 5 + [False] * 5


def test_the_largest_times_do_not_wrap() -> None:
    table = make(ttl_s=(1 << 32) - 1)
    table.push(gradients(fids_of([5], slot=1)), now_s=(1 << 32) - 2)
    assert table.expire(now_s=(1 << 32) - 1, budget_rows=100) == 0
    assert table.expire(now_s=1 << 40, budget_rows=100) == 0
    assert table.clock_s == (1 << 32) - 1
    table.push(gradients(fids_of([6], slot=1)), now_s=1 << 41)
    row = table.inspect(1 << 48 | 6)
    assert row is not None
    assert row.last_seen_s == (1 << 32) - 1


@pytest.mark.parametrize("budget_rows", [1, 7, 64, 999, 1_000, 5_000])
def test_the_hand_comes_round_whatever_the_budget(budget_rows: int) -> None:
    table = make()
    table.push(gradients(fids_of(range(1_000), slot=1)), now_s=0)
    calls = freed = 0
    while len(table):
        once = table.expire(now_s=100, budget_rows=budget_rows)
        assert once <= budget_rows
        freed += once
        calls += 1
    assert freed == 1_000
    assert calls == -(-1_000 // budget_rows)


def test_expiry_as_plain_python_would() -> None:
    """Random times, a moving hand, and rows that come in between."""
    rng = np.random.default_rng(8)
    table = make(ttl_s=20)
    seen: dict[int, int] = {}
    for now_s in range(0, 400, 3):
        chosen = np.unique(rng.integers(0, 600, 25)).tolist()
        table.push(gradients(fids_of(chosen, slot=1)), now_s=now_s)
        seen.update(dict.fromkeys(chosen, now_s))
        table.expire(now_s=now_s, budget_rows=1_000)
        seen = {fid: at for fid, at in seen.items() if at + 20 >= now_s}
        identities = table.export().fids & np.uint64((1 << 48) - 1)
        assert sorted(identities.tolist()) == sorted(seen)


def test_a_table_where_nothing_expires_looks_at_nothing() -> None:
    table = Table(TableSpec("t", 1, Sgd(1.0), capacity_rows=100))
    table.push(gradients(fids_of(range(10))), now_s=0)
    assert table.expire(now_s=1 << 31, budget_rows=100) == 0
    assert len(table) == 10
