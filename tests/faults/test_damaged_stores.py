"""Flip a byte of a store, or cut a file short: it is found, named, and the way round it taken."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cluster.job import load_job, resolve
from ps.block import Cursor
from ps.clock import SystemClock
from ps.errors import CorruptFileError, NoRestorePointError, StoreError
from ps.store.block_file import read_block
from ps.store.catalog import Catalog
from ps.store.claim import take_claim
from ps.store.holder import Holder
from ps.store.names import base_name, block_name, commit_name, cursor_of, snapshot_file
from ps.store.opening import open_location
from ps.store.resume import GoOnFrom, Restoring
from ps.store.verify import verify
from tests.faults.jobs import write_job, write_stream
from tests.faults.killing import train_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ps.shard import ShardSpec
    from ps.store.location import Location

ALL = "TRILITH_FAULTS" in os.environ
DAMAGES = 10_500 if ALL else 150
MEMORY_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Whole:
    """A store as training left it, and what it can be restored to.

    digests: of the shards at every restore point. follows: where a block is applied, by name. pins:
    the restore point of every snapshot, by name of the file.
    """

    folder: Path
    specs: tuple[ShardSpec, ...]
    files: dict[str, bytes]
    digests: dict[Cursor, tuple[str, ...]]
    follows: dict[str, Cursor]
    pins: dict[str, Cursor]

    def kinds(self) -> dict[str, list[str]]:
        """The files by kind."""
        found: dict[str, list[str]] = {}
        for name in self.files:
            found.setdefault(name.rsplit(".", 1)[-1], []).append(name)
        return found

    def newest_without(self, damaged: str) -> Cursor | None:
        """The newest point that can be restored without a file, said by the files alone."""
        for at in sorted(self.digests, reverse=True):
            pinned = any(cursor == at and file != damaged for file, cursor in self.pins.items())
            if damaged == commit_name(at) and not pinned:
                continue
            if all(self._has_way(spec.shard, at, damaged) for spec in self.specs):
                return at
        return None

    def _has_way(self, shard: int, at: Cursor, damaged: str) -> bool:
        if at == Cursor(0, 0):
            return True
        base, block = base_name(shard, at), block_name(shard, at)
        if base in self.files and base != damaged:
            return True
        if block not in self.files or block == damaged:
            return False
        return self._has_way(shard, self.follows[block], damaged)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """A store of two shards with bases, blocks, restore points and snapshots."""
    folder = tmp_path_factory.mktemp("damaged")
    stream = write_stream(folder, seed=6, records=6_000, partitions=2)
    job = write_job(folder, stream, model="fm", shards=2, store=folder / "store")
    train_whole(job, "snapshot")
    store = folder / "store"
    files = {
        str(path.relative_to(store)): path.read_bytes()
        for path in sorted(store.rglob("*"))
        if path.is_file() and path.stat().st_size
    }
    specs = resolve(load_job(job)).shards
    location = open_location(str(store))
    digests = {}
    for point in Catalog(location).points():
        resumed = _restoring(location).resume(specs, GoOnFrom(point.at.epoch))
        digests[point.at] = tuple(shard.digest() for shard in resumed.shards)
    follows = {}
    for name in files:
        at = cursor_of(name)
        if name.startswith("blocks/") and at is not None:
            shard = int(name.split("/")[1].removeprefix("shard-"))
            follows[name] = read_block(location, shard, at).follows
    pins = Catalog(location).survey().pins
    by_file = {snapshot_file(name): at for name, at in pins.items()}
    return Whole(store, specs, files, digests, follows, by_file)


def _restoring(location: Location, said: list[str] | None = None) -> Restoring:
    say = (said if said is not None else []).append
    return Restoring(location, Catalog(location), say, MEMORY_BYTES)


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """One byte changed, or some of the end missing."""
    at = int(rng.integers(0, len(data)))
    if rng.random() < 0.25:
        return data[:at]
    return data[:at] + bytes([data[at] ^ int(rng.integers(1, 256))]) + data[at + 1 :]


def choices(whole: Whole, seed: int, n: int) -> Iterator[tuple[str, bytes]]:
    """Files of every kind in turn, each damaged once."""
    rng = np.random.default_rng(seed)
    kinds = whole.kinds()
    for number in range(n):
        names = kinds[sorted(kinds)[number % len(kinds)]]
        name = names[int(rng.integers(0, len(names)))]
        yield name, damaged(whole.files[name], rng)


def test_the_store_has_files_of_every_kind(whole: Whole) -> None:
    assert set(whole.kinds()) == {"base", "block", "claim", "commit", "identity", "snapshot"}
    assert len(whole.digests) >= 5


@pytest.mark.timeout(1_800)
def test_damage_is_always_found_and_always_got_round(
    whole: Whole, record_property: Callable[[str, object], None]
) -> None:
    seed = int.from_bytes(os.urandom(4)) if ALL else 7
    print(f"seed {seed}")
    location = open_location(str(whole.folder))
    undetected: list[str] = []
    expected_by_name: dict[str, Cursor | None] = {}
    for name, data in choices(whole, seed, DAMAGES):
        path = whole.folder / name
        expected = expected_by_name.setdefault(name, whole.newest_without(name))
        path.write_bytes(data)
        try:
            if name not in {problem.name for problem in verify(location).problems}:
                undetected.append(name)
            assert expected is not None
            resumed = _restoring(location).resume(whole.specs, GoOnFrom())
            assert resumed.commit is not None
            assert resumed.commit.at == expected, name
            digests = tuple(shard.digest() for shard in resumed.shards)
            assert digests == whole.digests[expected], name
        finally:
            path.write_bytes(whole.files[name])
    assert not undetected
    record_property("damaged_files", DAMAGES)
    record_property("undetected", len(undetected))


def test_a_store_with_damage_can_be_written_to_or_says_why_not(whole: Whole) -> None:
    location = open_location(str(whole.folder))
    holder = partial(Holder.of_this_process, "test")
    for name, data in choices(whole, 8, 40):
        path = whole.folder / name
        path.write_bytes(data)
        refused = ""
        try:
            take_claim(location, holder(), clock=SystemClock(), lease_s=60.0).release()
        except StoreError as error:
            refused = str(error)
        finally:
            path.write_bytes(whole.files[name])
        assert not refused or name in refused


@pytest.mark.parametrize("kind", ["block", "base", "commit"])
def test_a_file_under_anothers_name_is_found(whole: Whole, kind: str) -> None:
    location = open_location(str(whole.folder))
    names = whole.kinds()[kind]
    for taken, given in pairwise(names):
        path = whole.folder / given
        expected = whole.newest_without(given)
        path.write_bytes(whole.files[taken])
        try:
            assert given in {problem.name for problem in verify(location).problems}
            resumed = _restoring(location).resume(whole.specs, GoOnFrom())
            assert resumed.commit is not None
            assert resumed.commit.at == expected
        finally:
            path.write_bytes(whole.files[given])


@pytest.mark.parametrize("kind", ["block", "base", "commit", "snapshot"])
def test_a_missing_file_is_got_round(whole: Whole, kind: str) -> None:
    location = open_location(str(whole.folder))
    for name in whole.kinds()[kind]:
        path = whole.folder / name
        expected = whole.newest_without(name)
        path.unlink()
        try:
            resumed = _restoring(location).resume(whole.specs, GoOnFrom())
            assert resumed.commit is not None
            assert resumed.commit.at == expected
        finally:
            path.write_bytes(whole.files[name])


def test_with_nothing_whole_it_says_so(whole: Whole) -> None:
    location = open_location(str(whole.folder))
    gone = [name for name in whole.files if name.endswith((".base", ".block"))]
    for name in gone:
        (whole.folder / name).unlink()
    try:
        with pytest.raises((NoRestorePointError, CorruptFileError), match="restore point"):
            _restoring(location).resume(whole.specs, GoOnFrom())
    finally:
        for name in gone:
            (whole.folder / name).write_bytes(whole.files[name])
