"""What saving costs: training while every second is sealed and written, compaction, restore.

    python -m benchmarks.snapshot [--quick] [--json FILE]

One shard of 5 M rows of dim 16 under AdaGrad. Training is DeepFM on one thread, 26 fields of
ids and 13 numbers, batches of 4,096, ids drawn by popularity (the k-th most popular as often as 1 / k).
Saving is what a job does: seal between two batches, gather in slices, commit to a local store, compact
beside it. Turns with and without saving alternate, so that a noisy neighbour spoils both. Compaction
is compared with copying the same files, restoring with np.fromfile of the same bytes, all from the
page cache.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from benchmarks.click_load import BATCH, Stream, deepfm, features, fill, shard_spec
from benchmarks.harness import finish, median, parse_options, say, seconds
from cluster.local.epochs import GATHER_ROWS
from cluster.switching import SWITCH_INTERVAL_S
from cluster.warmup import warm_up_learner
from ps.block import Cursor
from ps.client import RoutingClient
from ps.clock import SystemClock
from ps.shard import Shard
from ps.store.background import StoreThread
from ps.store.claim import take_claim
from ps.store.commit import ShardChain
from ps.store.compactor import compact
from ps.store.description import describe
from ps.store.holder import Holder
from ps.store.names import base_name, block_name
from ps.store.opening import open_location
from ps.store.restore import restore_shards
from ps.store.upkeep import UpkeepPolicy
from ps.store.writer import Epoch, StoreWriter
from worker.learners import BatchLearner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.harness import Figures
    from model.batch import Batch
    from ps.block import Block
    from ps.store.commit import Commit
    from ps.store.location import Location

SEAL_EVERY_S = 1.0
FLUSH_S = 300.0
# A compaction begins and ends within every turn with saving: about as often as a job's own share of
# block bytes to base bytes would have it.
COMPACT_EPOCHS = 7


@dataclass(slots=True)
class Seen:
    """What one turn of training showed."""

    examples: int = 0
    elapsed_s: float = 0.0
    pauses_s: list[float] = field(default_factory=list)
    touched_rows: int = 0
    block_bytes: int = 0


def learn(
    shard: Shard,
    learner: BatchLearner,
    stream: Iterator[Batch],
    turn_s: float,
    store: StoreThread | None,
) -> Seen:
    """Train for turn_s seconds; with a store, seal every second and hand the blocks over."""
    seen = Seen()
    begin = sealed = time.perf_counter()
    while True:
        now = time.perf_counter()
        if now - begin >= turn_s and not shard.is_sealing:
            break
        learner.learn(next(stream), generation=0)
        seen.examples += BATCH
        if store is None:
            continue
        held = time.perf_counter()
        block = None
        if shard.is_sealing:
            block = shard.gather(GATHER_ROWS)
        elif held - sealed >= SEAL_EVERY_S:
            sealed = held
            shard.begin_seal(0)
        if block is not None:
            submit(store, block, seen)
        seen.pauses_s.append(time.perf_counter() - held)
    seen.elapsed_s = time.perf_counter() - begin
    return seen


def submit(store: StoreThread, block: Block, seen: Seen | None = None) -> None:
    """Hand a block over, as an epoch of its own."""
    store.submit(Epoch((block,)))
    if seen is not None:
        seen.touched_rows += sum(table.fids.size for table in block.tables.values())


def train_while_sealing(
    shard: Shard, store: StoreThread, rows: int, turn_s: float, rounds: int, figures: Figures
) -> None:
    """Turns with and without saving."""
    learner = BatchLearner(deepfm(), features().layout, RoutingClient([shard]))
    stream = Stream(rows, 32 if rows < 1_000_000 else 150).endless()
    learn(shard, learner, stream, min(turn_s, 2.0), None)
    ratios: list[float] = []
    pauses: list[float] = []
    touched = written = 0
    for number in range(rounds):
        rates = {}
        for saving in (number % 2 == 0, number % 2 == 1):
            submit(store, shard.seal(0))
            committed = store.flush(FLUSH_S)
            with store.upkeep_held():
                pass  # what the turn before began has ended
            seen = learn(shard, learner, stream, turn_s, store if saving else None)
            rates[saving] = seen.examples / seen.elapsed_s
            if saving:
                pauses += seen.pauses_s
                touched += seen.touched_rows
                last = store.flush(FLUSH_S)
                written += stored_between(store, committed, last)
        ratios.append(rates[True] / rates[False])
        say(
            f"round {number + 1}: {rates[True]:,.0f} examples/s saving, {rates[False]:,.0f} not, "
            f"longest pause {max(pauses) * 1e3:.1f} ms"
        )
    figures["train_while_sealing_ratio"] = median(ratios)
    figures["train_examples_per_s"] = rates[False]
    figures["longest_pause_ms"] = max(pauses) * 1e3
    figures["touched_rows_per_s"] = touched / (rounds * turn_s)
    figures["bytes_per_touched_row"] = written / max(touched, 1)


def stored_between(store: StoreThread, first: Commit | None, last: Commit | None) -> int:
    """Bytes of the blocks after one commit, up to another, as they lie in the store."""
    assert first is not None  # noqa: S101  # the run has committed before
    assert last is not None  # noqa: S101
    return sum(
        store.location.size(block_name(0, Cursor(epoch, last.at.generation)))
        for epoch in range(first.at.epoch + 1, last.at.epoch + 1)
    )


def drop(path: Path) -> None:
    """Remove a file where it is there."""
    path.unlink(missing_ok=True)


def compaction(
    root: Path, location: Location, commit: Commit, rounds: int, figures: Figures
) -> None:
    """The newest chain into a new base, against copying the same files into one."""
    chain = commit.shards[0]
    names = [block_name(chain.shard, cursor) for cursor in chain.blocks]
    if chain.base is not None:
        names.insert(0, base_name(chain.shard, chain.base))
    paths = [root / name for name in names]
    size = sum(path.stat().st_size for path in paths)
    target, made = root / "copied", root / base_name(chain.shard, chain.cursor)
    ratios, copied_s, compacted_s = [], [], []
    for _ in range(rounds):
        drop(target)
        drop(made)
        copied_s.append(seconds(copy, paths, target))
        compacted_s.append(seconds(compact, location, chain, memory_bytes=512 << 20))
        ratios.append(copied_s[-1] / compacted_s[-1])
    drop(target)
    say(
        f"compaction of {size / 1e6:,.0f} MB ({len(paths)} files): {median(compacted_s):.2f} s, "
        f"copying {median(copied_s):.2f} s"
    )
    figures["compact_vs_copy"] = median(ratios)
    figures["compact_bytes_per_s"] = size / median(compacted_s)


def copy(paths: list[Path], target: Path) -> None:
    """Read every file through a buffer and write it to the target, to the disk as compaction does."""
    buffer = bytearray(4 << 20)
    view = memoryview(buffer)
    with target.open("wb", buffering=0) as out:
        for path in paths:
            with path.open("rb", buffering=0) as source:
                while n := source.readinto(buffer):
                    out.write(view[:n])
        os.fsync(out.fileno())


def restoring(
    root: Path, location: Location, commit: Commit, rounds: int, figures: Figures
) -> None:
    """A commit that is one base, restored, against np.fromfile of that file."""
    chain = commit.shards[0]
    assert chain.base is not None  # noqa: S101  # compaction has made it so
    path = root / base_name(chain.shard, chain.base)
    ratios, restored_s, read_s = [], [], []
    for _ in range(rounds):
        gc.collect()
        read_s.append(seconds(np.fromfile, path, dtype=np.uint8))
        gc.collect()
        restored_s.append(seconds(restore_shards, location, commit, [shard_spec()]))
        ratios.append(read_s[-1] / restored_s[-1])
    size = path.stat().st_size
    say(
        f"restore of {size / 1e6:,.0f} MB: {median(restored_s):.2f} s, np.fromfile "
        f"{median(read_s):.2f} s"
    )
    figures["restore_vs_fromfile"] = median(ratios)
    figures["restore_s"] = median(restored_s)
    figures["restored_mb"] = size / 1e6


def resharding(location: Location, rows: int, rounds: int, figures: Figures) -> None:
    """Four shards' bases restored as three."""
    four = [Shard(shard_spec(number, dense=False)) for number in range(4)]
    fill(four, rows)
    commit = commit_bases(location, four)
    del four
    gc.collect()
    three = [shard_spec(number, dense=False) for number in range(3)]
    taken_s = [seconds(restore_shards, location, commit, three) for _ in range(rounds)]
    figures["restore_4_to_3_shards_s"] = median(taken_s)
    say(f"4 shards of {rows:,} rows in all, restored as 3: {median(taken_s):.2f} s")


def commit_bases(location: Location, shards: list[Shard]) -> Commit:
    """A restore point whose chains are bases alone."""
    thread = opened(location, shards)
    thread.submit(Epoch(tuple(shard.seal(0) for shard in shards)))
    thread.flush(FLUSH_S)
    thread.compact_now()
    # The bases are named by the commits that come after.
    thread.submit(Epoch(tuple(shard.seal(0) for shard in shards)))
    commit = thread.flush(FLUSH_S)
    thread.close(FLUSH_S)
    assert commit is not None  # noqa: S101  # flush has waited for it
    return commit


def opened(location: Location, shards: list[Shard]) -> StoreThread:
    """A store for new shards, which write from now on."""
    clock = SystemClock()
    claim = take_claim(location, Holder.of_this_process("benchmark"), clock=clock, lease_s=3_600.0)
    for shard in shards:
        shard.promote(claim.generation)
    description = describe([shard.spec for shard in shards])
    chains = [ShardChain(number, None, ()) for number in range(len(shards))]
    writer = StoreWriter(location, claim, description, chains, clock=clock)
    thread = StoreThread(location, writer, UpkeepPolicy(compact_blocks=COMPACT_EPOCHS), clock=clock)
    thread.start()
    return thread


def main() -> None:
    """Run it."""
    options = parse_options(str(__doc__).splitlines()[0])
    rows = 200_000 if options.quick else 5_000_000
    turn_s, rounds = (3.0, 2) if options.quick else (12.0, 6)
    figures: Figures = {"rows": rows}
    sys.setswitchinterval(SWITCH_INTERVAL_S)  # as the command does
    say("compiling kernels")
    layout = features().layout
    spare = Shard(shard_spec())
    warm_up_learner(BatchLearner(deepfm(), layout, RoutingClient([spare])), layout)
    with tempfile.TemporaryDirectory(prefix="trilith-bench-") as folder:
        root = Path(folder)
        commit_bases(open_location(str(root / "warm-up")), [spare])
        say(f"filling {rows:,} rows")
        shard = Shard(shard_spec())
        fill([shard], rows)
        location = open_location(str(root / "store"))
        store = opened(location, [shard])
        submit(store, shard.seal(0))
        store.flush(FLUSH_S)
        store.compact_now()
        train_while_sealing(shard, store, rows, turn_s, rounds, figures)
        submit(store, shard.seal(0))
        commit = store.flush(FLUSH_S)
        assert commit is not None  # noqa: S101  # flush has waited for it
        compaction(root / "store", location, commit, rounds + 1, figures)
        store.compact_now()
        submit(store, shard.seal(0))
        commit = store.flush(FLUSH_S)
        assert commit is not None  # noqa: S101
        restoring(root / "store", location, commit, rounds + 1, figures)
        store.close(FLUSH_S)
        del shard, store
        gc.collect()
        resharding(open_location(str(root / "shards")), rows, rounds, figures)
    finish(options, figures)


if __name__ == "__main__":
    main()
