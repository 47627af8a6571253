"""Verifying: every damaged file is named, and what it means for restoring is told right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import xxhash

from ps.block import Cursor
from ps.clock import ManualClock
from ps.errors import NoRestorePointError
from ps.store.block_file import write_block
from ps.store.catalog import Catalog
from ps.store.claim import take_claim
from ps.store.commit import Commit, ShardChain
from ps.store.commit_codec import encode_commit
from ps.store.compactor import compact
from ps.store.holder import Holder
from ps.store.names import base_name, block_name, claim_name, commit_name
from ps.store.opening import open_location
from ps.store.snapshots import create_snapshot
from ps.store.verify import VerifyReport, verify
from tests.ps.store.blocks_by_hand import SHAPES, make_block, table_delta
from tests.ps.store.commits import commit

if TYPE_CHECKING:
    from pathlib import Path

    from ps.store.location import Location


def fill(location: Location) -> None:
    """Two shards, five epochs; a base at 3, at which commits 4 and 5 begin."""
    holder = Holder.of_this_process("job")
    take_claim(location, holder, clock=ManualClock(5), lease_s=9).release()
    rng = np.random.default_rng(1)
    chains = [ShardChain(shard, None, ()) for shard in range(2)]
    for epoch in range(1, 6):
        for shard in range(2):
            tables = {
                name: table_delta(rng, shape, range(epoch, epoch + 4))
                for name, shape in SHAPES.items()
            }
            after = Cursor(epoch - 1, 1) if epoch > 1 else None
            block = make_block(epoch, tables, shard=shard, after=after)
            write_block(location, block)
            chain = chains[shard]
            chains[shard] = ShardChain(shard, chain.base, (*chain.blocks, block.cursor))
        put(location, commit(epoch, chains))
        if epoch == 3:
            for chain in chains:
                compact(location, chain, memory_bytes=1 << 20)
            chains = [ShardChain(chain.shard, chain.cursor, ()) for chain in chains]
    create_snapshot(Catalog(location), "good", Cursor(2, 1), now_us=7)


def put(location: Location, one: Commit) -> None:
    location.write(commit_name(one.at), [encode_commit(one)])


def whole(report: VerifyReport) -> list[int]:
    return [point.at.epoch for point in report.points if point.whole]


def damage(location: Location, name: str, at: int = -20) -> None:
    data = bytearray(location.read(name))
    data[at] ^= 0x10
    location.write(name, [data])


def test_a_sound_store_has_no_problems(location: Location) -> None:
    fill(location)
    told: list[tuple[int, int]] = []
    report = verify(location, on_progress=lambda done, total: told.append((done, total)))
    assert report.problems == ()
    assert whole(report) == [1, 2, 3, 4, 5]
    assert report.newest_whole == Cursor(5, 1)
    assert (report.orphans, report.strangers) == ((), ())
    files = [info for info in location.list() if info.name != "store.lock"]
    assert report.files == len(files) == 10 + 2 + 5 + 1 + 1 + 1
    assert told[-1][0] == told[-1][1] == sum(i.size for i in files if i.name[0] == "b")
    assert len(told) == 12


@pytest.fixture
def store() -> Location:
    location = open_location("memory://verify")
    location.delete([info.name for info in location.list()])
    fill(location)
    return location


@pytest.mark.parametrize(
    ("name", "left"),
    [
        (block_name(0, Cursor(5, 1)), [1, 2, 3, 4]),
        (block_name(1, Cursor(4, 1)), [1, 2, 3]),
        (block_name(1, Cursor(3, 1)), [1, 2, 3, 4, 5]),  # the base stands in for it
        (block_name(1, Cursor(2, 1)), [1, 3, 4, 5]),
        (base_name(1, Cursor(3, 1)), [1, 2, 3, 4, 5]),  # its blocks stand in for it
        (commit_name(Cursor(4, 1)), [1, 2, 3, 5]),
        (commit_name(Cursor(2, 1)), [1, 2, 3, 4, 5]),  # the snapshot stands in for it
        ("snapshots/good.snapshot", [1, 2, 3, 4, 5]),
        (claim_name(1), [1, 2, 3, 4, 5]),
        ("store.identity", [1, 2, 3, 4, 5]),
    ],
)
def test_damage_is_named_with_what_it_means(store: Location, name: str, left: list[int]) -> None:
    damage(store, name)
    report = verify(store)
    assert [problem.name for problem in report.problems] == [name]
    assert "\n" not in str(report.problems[0])
    assert str(report.problems[0]).startswith(f"{name}: ")
    assert whole(report) == left
    store.write(name, [store.read(name)[:-1]])
    assert [problem.name for problem in verify(store).problems] == [name]


def test_a_missing_file_is_named_with_what_it_means(store: Location) -> None:
    name = block_name(1, Cursor(4, 1))
    store.delete([name])
    for deep in (True, False):
        report = verify(store, deep=deep)
        assert [str(problem) for problem in report.problems] == [f"{name}: is missing"]
        assert whole(report) == [1, 2, 3]
        assert report.points[-1].faults == report.problems


def test_without_reading_damage_inside_is_not_seen(store: Location) -> None:
    damage(store, block_name(0, Cursor(5, 1)))
    report = verify(store, deep=False)
    assert report.problems == ()
    assert report.files == 5 + 1 + 1 + 1


def test_a_block_under_anothers_name_is_named(store: Location) -> None:
    """Reordered, duplicated, of another shard."""
    for other in (block_name(0, Cursor(4, 1)), block_name(1, Cursor(5, 1))):
        name = block_name(0, Cursor(5, 1))
        store.write(name, [store.read(other)])
        report = verify(store)
        assert [problem.name for problem in report.problems] == [name]
        assert "holds the block of shard" in report.problems[0].fault


def test_a_block_that_does_not_follow_is_told_of_its_point(store: Location) -> None:
    chains = [ShardChain(s, None, (Cursor(1, 1), Cursor(4, 1))) for s in range(2)]
    put(store, commit(9, chains, generation=2))
    report = verify(store)
    assert report.problems == ()
    assert whole(report) == [1, 2, 3, 4, 5]
    last = report.points[-1]
    assert [fault.name for fault in last.faults] == [
        block_name(shard, Cursor(4, 1)) for shard in range(2)
    ]
    assert "follows epoch 3 of generation 1" in last.faults[0].fault


def test_orphans_and_strangers_are_no_problems(store: Location) -> None:
    write_block(store, make_block(9, shard=1))
    store.write("notes.txt", [b"someone's"])
    store.write("blocks/shard-0001/e1.block", [b"someone's"])
    report = verify(store)
    assert report.problems == ()
    assert report.orphans == (block_name(1, Cursor(9, 1)),)
    assert report.strangers == ("blocks/shard-0001/e1.block", "notes.txt")
    damage(store, report.orphans[0])
    assert [problem.name for problem in verify(store).problems] == [*report.orphans]


def test_one_restore_point_can_be_verified_alone(store: Location) -> None:
    damage(store, block_name(0, Cursor(2, 1)))
    report = verify(store, only=Cursor(5, 1))
    assert (report.problems, whole(report), report.files) == ((), [5], 6)
    report = verify(store, only=Cursor(2, 1))
    assert (len(report.problems), whole(report), report.files) == (1, [], 4)
    with pytest.raises(NoRestorePointError):
        verify(store, only=Cursor(7, 1))


def test_a_file_of_another_version_is_a_problem(store: Location) -> None:
    name = claim_name(1)
    content = bytearray(store.read(name)[:-16])
    content[4] = 9
    store.write(name, [content, xxhash.xxh3_128_digest(bytes(content))])
    report = verify(store)
    assert len(report.problems) == 1
    assert str(report.problems[0]).startswith(f"{name}: is of format version 9, this program")


def test_nothing_is_a_store_without_problems(tmp_path: Path) -> None:
    report = verify(open_location(str(tmp_path / "none")))
    assert report == VerifyReport(str(tmp_path / "none"), 0, 0, (), (), (), ())
