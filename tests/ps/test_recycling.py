"""Memory of blocks is used again when nobody holds the block any more, and never before."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.optimizers import AdaGrad
from ps.table import Table, TableSpec
from ps.table.recycling import LEAST_BYTES, RecycledMemory
from tests.ps.fids import fids_of, gradients

SIZE = 4 * LEAST_BYTES


@pytest.fixture(autouse=True, scope="module")
def _only_what_is_made_here_is_collected() -> None:
    gc.collect()
    gc.freeze()


def test_what_was_let_go_of_is_lent_again() -> None:
    memory = RecycledMemory()
    first = memory.lend(SIZE)
    at = first.ctypes.data
    del first
    again = memory.lend(SIZE)
    assert again.ctypes.data == at


def test_any_array_on_it_keeps_it() -> None:
    memory = RecycledMemory()
    lent = memory.lend(SIZE)
    lent[:] = 7
    views = [lent[:96].view(np.uint64)[2:], lent[96:].reshape(-1, 4)[::3]]
    del lent
    while views:
        other = memory.lend(SIZE)
        other[:] = 9
        assert all((view.view(np.uint8) == 7).all() for view in map(np.ascontiguousarray, views))
        views.pop()
    assert memory.lend(SIZE).size >= SIZE


def test_memory_of_another_size_is_let_go_of() -> None:
    memory = RecycledMemory()
    large = memory.lend(100 * SIZE)
    del large
    assert memory.lend(SIZE).size < 10 * SIZE


def test_other_threads_may_drop_what_was_lent() -> None:
    memory = RecycledMemory()
    lent = [memory.lend(SIZE) for _ in range(8)]
    threads = [threading.Thread(target=lent.pop) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        memory.lend(SIZE)[:] = 1
    for thread in threads:
        thread.join()
    assert lent == []


@given(held=st.lists(st.integers(0, 3), min_size=4, max_size=8), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_blocks_that_are_held_never_change(held: list[int], seed: int) -> None:
    """Some readers hold a block for some epochs, some drop it at once."""
    rng = np.random.default_rng(seed)
    table = Table(TableSpec("t", 16, AdaGrad(), capacity_rows=100_000))
    kept = []
    for epochs in held:
        fids = fids_of(rng.choice(60_000, 20_000, replace=False).tolist())
        table.push(gradients(fids, 1.0, width=16), now_s=1)
        block = table.seal()
        assert block.weights.nbytes > LEAST_BYTES
        kept.append((epochs, block, block.weights.copy(), block.fids.copy()))
        kept = [(left - 1, *rest) for left, *rest in kept if left > 0]  # type: ignore[misc]
        gc.collect()
        for _, delta, weights, sealed in kept:
            np.testing.assert_array_equal(delta.weights, weights)
            np.testing.assert_array_equal(delta.fids, sealed)
