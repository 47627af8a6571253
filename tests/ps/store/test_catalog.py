"""The catalog: what can be restored, in which order, and by which way around damage."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from ps.block import Cursor
from ps.errors import CorruptFileError, NoRestorePointError
from ps.store.catalog import Catalog
from ps.store.commit import Commit, ShardChain
from ps.store.commit_codec import encode_commit
from ps.store.inventory import Inventory, names_of, newest_first
from ps.store.names import base_name, block_name, claim_name, commit_name
from ps.store.snapshot_file import Snapshot, encode_snapshot
from tests.ps.store.commits import chain, commit

if TYPE_CHECKING:
    from ps.store.location import Location


def put(location: Location, *commits: Commit) -> None:
    """Commits with files of 10 bytes in the place of blocks and bases."""
    for one in commits:
        for name in names_of(one):
            location.write(name, [bytes(10)])
        location.write(commit_name(one.at), [encode_commit(one)])


def test_points_are_listed_newest_last_with_what_they_need(location: Location) -> None:
    put(location, commit(3), commit(1), commit(2), commit(5, [chain(0, 3, [4, 5])]))
    location.write("snapshots/good.snapshot", [encode_snapshot(Snapshot("good", 1, commit(2)))])
    points = Catalog(location).points()
    assert [point.at.epoch for point in points] == [1, 2, 3, 5]
    assert [point.bytes_to_read for point in points] == [20, 40, 60, 30]
    assert [point.pinned_by for point in points] == [(), ("good",), (), ()]
    assert [point.missing_files for point in points] == [0] * 4
    assert [point.shards for point in points] == [2, 2, 2, 1]
    assert points[1].rows == 5
    location.delete([block_name(1, Cursor(1, 1))])
    points = Catalog(location).points()
    assert [point.missing_files for point in points] == [1, 1, 1, 0]
    assert [point.bytes_to_read for point in points] == [10, 30, 50, 30]


def test_a_catalog_sees_what_has_come_and_gone(location: Location) -> None:
    catalog = Catalog(location)
    assert catalog.points() == []
    assert catalog.newest_whole() is None
    put(location, commit(1), commit(2))
    assert [point.at.epoch for point in catalog.points()] == [1, 2]
    location.delete([commit_name(Cursor(1, 1))])
    assert [point.at.epoch for point in catalog.points()] == [2]


def test_a_commit_is_read_whole(location: Location) -> None:
    put(location, commit(1), commit(2), commit(2, generation=2))
    catalog = Catalog(location)
    catalog.points()
    assert catalog.read(Cursor(2, 1)) == commit(2)
    assert catalog.read_epoch(2) == commit(2, generation=2)
    newest = catalog.newest_whole()
    assert newest == commit(2, generation=2)
    assert newest.worker == b"\0worker"


def test_an_epoch_without_a_restore_point_names_the_nearest(location: Location) -> None:
    with pytest.raises(NoRestorePointError, match="none at all"):
        Catalog(location).read_epoch(3)
    put(location, commit(2), commit(5), commit(9))
    with pytest.raises(NoRestorePointError, match="the nearest are 2 and 5"):
        Catalog(location).read_epoch(3)
    with pytest.raises(NoRestorePointError, match="the nearest is 9"):
        Catalog(location).read(Cursor(12, 1))


def test_a_damaged_commit_is_skipped_and_reported(location: Location) -> None:
    put(location, commit(1), commit(2), commit(3))
    name = commit_name(Cursor(3, 1))
    location.write(name, [location.read(name)[:-1]])
    catalog = Catalog(location)
    assert [point.at.epoch for point in catalog.points()] == [1, 2]
    assert list(catalog.faults()) == [name]
    assert catalog.newest_whole() == commit(2)
    assert catalog.newest_cursor() == Cursor(3, 1)
    with pytest.raises(CorruptFileError):
        catalog.read(Cursor(3, 1))


def test_a_snapshot_stands_in_for_its_commit(location: Location) -> None:
    put(location, commit(1), commit(2))
    location.write("snapshots/good.snapshot", [encode_snapshot(Snapshot("good", 1, commit(2)))])
    location.write(commit_name(Cursor(2, 1)), [b"damaged"])
    catalog = Catalog(location)
    assert [point.at.epoch for point in catalog.points()] == [1, 2]
    assert catalog.read_epoch(2) == commit(2)
    location.delete([commit_name(Cursor(2, 1))])
    assert catalog.read(Cursor(2, 1)) == commit(2)
    assert catalog.newest_whole() == commit(2)
    location.write("snapshots/good.snapshot", [b"damaged"])
    assert [point.at.epoch for point in catalog.points()] == [1]
    assert list(catalog.faults()) == ["snapshots/good.snapshot"]


def test_the_newest_cursor_is_of_any_file(location: Location) -> None:
    catalog = Catalog(location)
    assert catalog.newest_cursor() == Cursor(0, 0)
    location.write(block_name(3, Cursor(7, 2)), [b"damaged"])
    assert catalog.newest_cursor() == Cursor(7, 2)
    location.write(base_name(3, Cursor(2, 5)), [b"damaged"])
    assert catalog.newest_cursor() == Cursor(7, 5)
    location.write(commit_name(Cursor(9, 1)), [b"damaged"])
    location.write(claim_name(8), [b"damaged"])
    location.write("blocks/shard-0000/notes", [b"someone's"])
    assert catalog.newest_cursor() == Cursor(9, 8)


def test_what_a_replaced_writer_committed_late_is_older(location: Location) -> None:
    late = commit(12, [chain(0, None, [12])])
    put(location, commit(10), commit(11, [chain(0, None, [11], 2)], generation=2), late)
    assert [point.at for point in Catalog(location).points()] == [(10, 1), (12, 1), (11, 2)]
    assert newest_first([Cursor(12, 1), Cursor(11, 2)])[0] == Cursor(11, 2)
    newest = Catalog(location).newest_whole()
    assert newest is not None
    assert newest.at == Cursor(11, 2)


def inventory(commits: list[Commit], bases: list[int] | None = None) -> Inventory:
    """Shard 0's files are all there."""
    chains = [one.shards[0] for one in commits]
    blocks = {(0, at): 1 for one in chains for at in one.blocks}
    based = [one.base for one in chains if one.base is not None]
    based += [Cursor(epoch, 1) for epoch in bases or []]
    return Inventory(
        blocks=blocks,
        bases=dict.fromkeys([(0, at) for at in based], 1),
        commits={one.at: one for one in commits},
    )


def one_shard(epoch: int, base: int | None, blocks: list[int]) -> Commit:
    return commit(epoch, [chain(0, base, blocks)])


def blocks(*epochs: int) -> set[str]:
    return {block_name(0, Cursor(epoch, 1)) for epoch in epochs}


def based(*epochs: int) -> set[str]:
    return {base_name(0, Cursor(epoch, 1)) for epoch in epochs}


HISTORY = [
    one_shard(2, None, [1, 2]),
    one_shard(3, 2, [3]),
    one_shard(5, 2, [3, 4, 5]),
    one_shard(6, 5, [6]),
]


@pytest.mark.parametrize(
    ("damaged", "expected"),
    [
        (set(), (5, [6])),
        (blocks(1, 2, 3), (5, [6])),  # not needed
        (based(5), (2, [3, 4, 5, 6])),
        (based(5, 2), (None, [1, 2, 3, 4, 5, 6])),
        (based(5) | blocks(2), (2, [3, 4, 5, 6])),
        (based(5) | blocks(4), None),
        (based(5, 2) | blocks(1), None),
        (blocks(6), None),
    ],
)
def test_a_damaged_base_is_replaced_by_what_it_was_made_of(
    damaged: set[str], expected: tuple[int | None, list[int]] | None
) -> None:
    found = inventory(HISTORY).chain_without(HISTORY[-1], damaged)
    if expected is None:
        assert found is None
    else:
        assert found == one_shard(6, *expected)


def test_a_file_that_is_missing_is_as_good_as_damaged() -> None:
    whole = inventory(HISTORY)
    bases = {key: size for key, size in whole.bases.items() if key != (0, Cursor(5, 1))}
    found = dataclasses.replace(whole, bases=bases).chain_without(HISTORY[-1], set())
    assert found == one_shard(6, 2, [3, 4, 5, 6])


def test_a_base_stands_in_for_damaged_blocks_before_it() -> None:
    history = [one_shard(6, None, [1, 2, 3, 4, 5, 6])]
    found = inventory(history, bases=[2, 4]).chain_without(history[0], blocks(1, 3))
    assert found == one_shard(6, 4, [5, 6])
    assert inventory(history, bases=[2, 4]).chain_without(history[0], blocks(5)) is None
    at_the_end = inventory(history, bases=[6]).chain_without(history[0], blocks(6))
    assert at_the_end == one_shard(6, 6, [])


def test_chains_of_another_number_of_shards_are_no_way_round() -> None:
    two = commit(5, [chain(0, None, [4, 5]), chain(1, None, [4, 5])])
    whole = inventory([two, one_shard(6, 5, [6])])
    assert whole.chain_without(one_shard(6, 5, [6]), based(5)) is None


def test_the_newest_whole_point_is_found_around_damage() -> None:
    found = inventory(HISTORY)
    for damaged, epoch in [
        (set(), 6),
        (blocks(6), 5),
        (blocks(6, 5), 5),
        (blocks(6, 5) | based(5), 3),
        (blocks(3) | based(5), 2),
        (blocks(3) | based(2), 6),
        (blocks(3, 6) | based(2), 5),
    ]:
        whole = found.newest_whole(damaged)
        assert whole is not None
        if damaged == blocks(3, 6) | based(2):
            assert whole.shards[0] == ShardChain(0, Cursor(5, 1), (), {"p0": 100})
        assert whole.at.epoch == epoch, damaged
    assert found.newest_whole(blocks(1, 3, 6) | based(2, 5)) is None
    before = found.newest_whole(set(), at_most=Cursor(4, 1))
    assert before is not None
    assert before.at == Cursor(3, 1)


def test_long_chains_are_walked_without_recursion() -> None:
    history = [
        one_shard(4000, 2000, list(range(2001, 4001))),
        one_shard(2000, None, list(range(1, 2001))),
    ]
    found = inventory(history).chain_without(history[0], based(2000))
    assert found is not None
    assert len(found.shards[0].blocks) == 4000
