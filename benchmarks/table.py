"""The table against np.take of known rows: pull, push, growth, memory.

    python -m benchmarks.table [--quick] [--json FILE]

One thread, dim 16, row-wise AdaGrad. Keys are random existing ones; np.take gathers the same rows
from a plain array by row number, which is what a lookup could cost if finding were free.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from benchmarks.harness import finish, median, parse_options, rss_bytes, say, seconds
from ps.initializers import Initializer
from ps.messages import RowGradients
from ps.optimizers import RowwiseAdaGrad
from ps.table import SlotPolicy, Table, TableSpec

if TYPE_CHECKING:
    from benchmarks.harness import Figures
    from ps.arrays import F32, I64, U32, U64

DIM = 16
SLOT = 1
CALL_KEYS = 10_000
PAYLOAD_BYTES = 4 * (DIM + 1)
TTL_S = 3_600


def new_table(*, ttl_s: int | None = None) -> Table:
    """An empty table of the shape under test."""
    return Table(
        TableSpec(
            name="bench",
            width=DIM,
            optimizer=RowwiseAdaGrad(learning_rate=0.05),
            initializer=Initializer("uniform", 0.01),
            slots=(SlotPolicy(SLOT, ttl_s=ttl_s),),
        )
    )


def gradients(fids: U64) -> RowGradients:
    """A gradient of ones."""
    grads: F32 = np.ones((fids.size, DIM), dtype=np.float32)
    counts: U32 = np.ones(fids.size, dtype=np.uint32)
    return RowGradients(fids, grads, counts)


def fids_of(identities: I64) -> U64:
    """Fids of the slot under test."""
    return identities.astype(np.uint64) | np.uint64(SLOT << 48)


def warm_up() -> None:
    """Compile everything that is timed."""
    table = new_table(ttl_s=TTL_S)
    fids = fids_of(np.arange(CALL_KEYS))
    for now_s in (1, 2):
        table.push(gradients(fids), now_s=now_s)
    table.pull(fids)
    table.expire(now_s=3, budget_rows=10)


def grow(table: Table, rng: np.random.Generator, begin: int, end: int) -> float:
    """Insert identities begin..end in random order, CALL_KEYS a call; the longest call in seconds."""
    longest = 0.0
    order = rng.permutation(np.arange(begin, end))
    for at in range(0, order.size, CALL_KEYS):
        push = gradients(fids_of(order[at : at + CALL_KEYS]))
        longest = max(longest, seconds(table.push, push, now_s=1))
    return longest


def take(plain: F32, rows: I64) -> F32:
    """The same rows by number."""
    return np.take(plain, rows, axis=0)


def costs(table: Table, plain: F32, rng: np.random.Generator, calls: int) -> tuple[float, ...]:
    """Seconds a row of np.take, pull and push, taken in turn over the same random rows."""
    rows = len(table)
    times: tuple[list[float], ...] = ([], [], [])
    for _ in range(calls):
        chosen = rng.integers(0, rows, CALL_KEYS)
        fids = fids_of(chosen)
        push = gradients(fids)
        times[0].append(seconds(take, plain, chosen))
        times[1].append(seconds(table.pull, fids))
        times[2].append(seconds(table.push, push, now_s=2))
    return tuple(median(values) / CALL_KEYS for values in times)


def curve(options_quick: bool, figures: Figures) -> None:
    """Grow to the largest size; at each size on the way, time all three."""
    sizes = [100_000, 300_000, 1_000_000] if options_quick else []
    if not options_quick:
        sizes = [100_000, 300_000, 1_000_000, 3_000_000, 10_000_000, 20_000_000]
    measured = sizes[-1] if options_quick else 10_000_000
    rng = np.random.default_rng(1)
    before = rss_bytes()
    table = new_table()
    longest_s, begin = 0.0, 0
    say(f"{'rows':>12} {'take':>8} {'pull':>8} {'push':>8} {'insert':>8}  ns a row; M rows/s pull")
    for size in sizes:
        started = time.perf_counter()
        longest_s = max(longest_s, grow(table, rng, begin, size))
        insert_s = (time.perf_counter() - started) / (size - begin)
        grown = rss_bytes() - before
        plain: F32 = np.tile(np.arange(DIM, dtype=np.float32), (size, 1))
        take_s, pull_s, push_s = costs(table, plain, rng, calls=20 if options_quick else 200)
        del plain
        say(
            f"{size:>12,} {take_s * 1e9:8.1f} {pull_s * 1e9:8.1f} {push_s * 1e9:8.1f} "
            f"{insert_s * 1e9:8.1f}  {1e-6 / pull_s:.1f}"
        )
        figures[f"pull_ns_at_{size}"] = pull_s * 1e9
        if size == measured:
            figures["pull_vs_take"] = take_s / pull_s
            figures["push_vs_pull"] = pull_s / push_s
            figures["pull_rows_per_s"] = 1 / pull_s
            figures["push_rows_per_s"] = 1 / push_s
            figures["insert_rows_per_s"] = 1 / insert_s
            # Resident memory, so that nothing the table keeps can be forgotten.
            figures["overhead_bytes_per_row"] = grown / size - PAYLOAD_BYTES
            figures["accounted_bytes_per_row"] = table.allocated_bytes / size
        begin = size
    figures["longest_call_ms"] = longest_s * 1e3


def churn(rows: int, figures: Figures) -> None:
    """Ten rounds of insert, expire all, insert others: memory after the last against the first."""
    before = rss_bytes()
    table = new_table(ttl_s=TTL_S)
    grown: list[int] = []
    for number in range(10):
        now_s = 1 + number * 3 * TTL_S
        identities = np.arange(number * rows, (number + 1) * rows)
        for at in range(0, rows, CALL_KEYS):
            table.push(gradients(fids_of(identities[at : at + CALL_KEYS])), now_s=now_s)
        grown.append(rss_bytes() - before)
        while len(table):
            table.expire(now_s=now_s + 2 * TTL_S, budget_rows=100_000)
        table.seal()
    say(f"churn of {rows:,} rows, MiB after each insert: {[g >> 20 for g in grown]}")
    figures["rss_growth_ratio"] = grown[-1] / grown[0]


def main() -> None:
    """Run it."""
    options = parse_options("The table against np.take of known rows.")
    figures: Figures = {}
    say("compiling kernels")
    warm_up()
    curve(options.quick, figures)
    churn(100_000 if options.quick else 1_000_000, figures)
    finish(options, figures)


if __name__ == "__main__":
    main()
