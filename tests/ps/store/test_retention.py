"""Retention: what goes, what stays, and that a crash anywhere leaves what stays whole."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import xxhash

from ps.block import Cursor
from ps.errors import CorruptFileError, NoRestorePointError, SpecError, StoreError
from ps.store.catalog import Catalog
from ps.store.commit import Commit, ShardChain
from ps.store.commit_codec import commit_fields, encode_commit
from ps.store.envelope import VERSION, Kind, seal_record
from ps.store.location import UNFINISHED, Location
from ps.store.names import base_name, block_name, claim_name, commit_name
from ps.store.opening import open_location
from ps.store.retention import PrunePlan, RetentionPolicy, prune
from ps.store.snapshots import create_snapshot, delete_snapshot, list_snapshots
from tests.ps.store.commits import chain, commit

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

START_US = 1_700_000_000_000_000
FILE_BYTES = 10


def put(location: Location, commits: Iterable[Commit]) -> None:
    for one in commits:
        for shard in one.shards:
            if shard.base is not None:
                location.write(base_name(shard.shard, shard.base), [bytes(FILE_BYTES)])
            if shard.blocks:
                location.write(block_name(shard.shard, shard.blocks[-1]), [bytes(FILE_BYTES)])
        location.write(commit_name(one.at), [encode_commit(one)])


def history(epochs: int = 12, every: int = 4, shards: int = 2) -> list[Commit]:
    """A commit a second, a new base for every few of them."""
    return [
        commit(
            epoch,
            [
                chain(s, base or None, range(base + 1, epoch + 1))
                for s in range(shards)
                for base in [(epoch - 1) // every * every]
            ],
            created_us=START_US + epoch * 1_000_000,
        )
        for epoch in range(1, epochs + 1)
    ]


def pruned(location: Location, policy: RetentionPolicy, *, dry_run: bool = False) -> PrunePlan:
    return prune(Catalog(location), policy, now_us=START_US + 12_000_000, dry_run=dry_run)


def epochs(location: Location) -> list[int]:
    points = Catalog(location).points()
    assert all(point.missing_files == 0 for point in points)
    return [point.at.epoch for point in points]


def names(location: Location) -> list[str]:
    return [info.name for info in location.list()]


@pytest.fixture
def store() -> Location:
    location = open_location("memory://retention")
    location.delete(names(location))
    put(location, history())
    return location


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        (RetentionPolicy(), range(1, 13)),
        (RetentionPolicy(points=3), range(10, 13)),
        (RetentionPolicy(points=1), [12]),
        (RetentionPolicy(points=100), range(1, 13)),
        (RetentionPolicy(age_s=5), range(7, 13)),
        (RetentionPolicy(age_s=0.5), [12]),
        (RetentionPolicy(points=3, age_s=5), range(10, 13)),
        # Two shards of a base and four blocks; then of a base and four blocks less.
        (RetentionPolicy(bytes=100), range(9, 13)),
        (RetentionPolicy(bytes=199), range(9, 13)),
        (RetentionPolicy(bytes=1), [12]),
        (RetentionPolicy(bytes=1000), range(1, 13)),
    ],
)
def test_a_point_beyond_any_limit_goes(
    store: Location, policy: RetentionPolicy, left: Iterable[int]
) -> None:
    plan = pruned(store, policy)
    assert epochs(store) == list(left)
    assert [at.epoch for at in plan.points] == sorted(set(range(1, 13)) - set(left))
    assert len(plan.files) * FILE_BYTES == plan.bytes


def test_files_go_with_the_last_point_that_needs_them(store: Location) -> None:
    before = set(names(store))
    plan = pruned(store, RetentionPolicy(points=2))
    # 11 and 12 begin at base 8.
    assert set(names(store)) & before == {
        *(base_name(s, Cursor(8, 1)) for s in range(2)),
        *(block_name(s, Cursor(e, 1)) for s in range(2) for e in range(9, 13)),
        *(commit_name(Cursor(e, 1)) for e in (11, 12)),
    }
    assert len(plan.files) == 2 * (8 + 1)


def test_a_dry_run_deletes_nothing_and_tells_the_same(store: Location) -> None:
    before = names(store)
    planned = pruned(store, RetentionPolicy(points=2), dry_run=True)
    assert names(store) == before
    assert pruned(store, RetentionPolicy(points=2)) == planned
    assert pruned(store, RetentionPolicy(points=2)) == PrunePlan()


def test_a_snapshot_keeps_its_point_until_it_is_let_go(location: Location) -> None:
    put(location, history())
    create_snapshot(Catalog(location), "before-sale", Cursor(6, 1), now_us=START_US)
    pruned(location, RetentionPolicy(points=2))
    assert epochs(location) == [6, 11, 12]
    # Even where its commit is lost.
    location.delete([commit_name(Cursor(6, 1))])
    pruned(location, RetentionPolicy(points=2))
    assert epochs(location) == [6, 11, 12]
    delete_snapshot(location, "before-sale")
    pruned(location, RetentionPolicy(points=2))
    assert epochs(location) == [11, 12]
    assert block_name(0, Cursor(6, 1)) not in names(location)


def test_a_pinned_point_stays(store: Location) -> None:
    policy = RetentionPolicy(points=1)
    prune(Catalog(store), policy, now_us=START_US, pinned=[Cursor(3, 1), Cursor(99, 9)])
    assert epochs(store) == [3, 12]


def test_what_the_living_writer_goes_on_from_stays(store: Location) -> None:
    """Whether a restore point names it yet or not."""
    anew = [ShardChain(shard, Cursor(9, 2), ()) for shard in range(3)]
    for one in anew:
        store.write(base_name(one.shard, Cursor(9, 2)), [bytes(FILE_BYTES)])
    back = [chain(shard, 4, [5, 6]) for shard in range(2)]
    found = prune(Catalog(store), RetentionPolicy(points=1), now_us=START_US, chains=[*anew, *back])
    assert epochs(store) == [12]
    left = {base_name(one.shard, Cursor(9, 2)) for one in anew}
    left |= {block_name(shard, Cursor(epoch, 1)) for shard in range(2) for epoch in (5, 6)}
    assert left <= set(names(store))
    assert not left & set(found.files)
    assert block_name(0, Cursor(7, 1)) not in names(store)


def test_what_was_sealed_before_the_newest_generation_was_taken_stays(store: Location) -> None:
    store.write(claim_name(2), [b"x"])
    store.write(claim_name(3), [b"x"])
    late = block_name(0, Cursor(13, 2))
    store.write(late, [bytes(FILE_BYTES)])
    prune(Catalog(store), RetentionPolicy(), now_us=START_US, writing_since=2)
    assert late in names(store)
    prune(Catalog(store), RetentionPolicy(), now_us=START_US)
    assert late not in names(store)


def test_what_the_living_writer_is_about_to_commit_stays(store: Location) -> None:
    store.write(claim_name(2), [b"x"])
    coming = [
        block_name(0, Cursor(13, 2)),
        base_name(0, Cursor(14, 2)),  # a new number of shards
        base_name(1, Cursor(11, 1)),  # compacted
    ]
    orphans = [
        block_name(0, Cursor(13, 1)),  # a writer died before its commit
        base_name(0, Cursor(13, 1)),
        base_name(1, Cursor(5, 1)),  # compacted and never used
        block_name(7, Cursor(3, 1)),
    ]
    for name in coming + orphans:
        store.write(name, [b"x"])
    plan = pruned(store, RetentionPolicy())
    assert sorted(plan.files) == sorted(orphans)
    assert set(coming) <= set(names(store))
    assert not set(orphans) & set(names(store))


def test_leftovers_go(tmp_path: Path) -> None:
    location = open_location(str(tmp_path))
    put(location, history())
    for generation in range(1, 12):
        location.write(claim_name(generation), [b"x"])
    (tmp_path / f"blocks/shard-0000/x{UNFINISHED}1-1").write_bytes(b"half")
    location.write(commit_name(Cursor(2, 1)), [b"damaged"])
    location.write(commit_name(Cursor(11, 1)), [b"damaged"])
    plan = pruned(location, RetentionPolicy(points=4))
    assert sorted(plan.leftovers) == [
        f"blocks/shard-0000/x{UNFINISHED}1-1",
        *(claim_name(generation) for generation in (1, 2, 3)),
        commit_name(Cursor(2, 1)),
    ]
    assert location.list_unfinished() == []
    assert commit_name(Cursor(11, 1)) in names(location)
    assert epochs(location) == [8, 9, 10, 12]


def test_nothing_goes_where_what_needs_files_cannot_be_read(store: Location) -> None:
    before = names(store)
    create_snapshot(Catalog(store), "good", Cursor(2, 1), now_us=0)
    whole = store.read("snapshots/good.snapshot")
    store.write("snapshots/good.snapshot", [whole[:-1]])
    with pytest.raises(CorruptFileError, match="nothing is deleted"):
        pruned(store, RetentionPolicy(points=1))
    delete_snapshot(store, "good")
    foreign = seal_record(Kind.COMMIT, commit_fields(commit(5)))
    content = bytearray(foreign[:-16])
    content[4] = VERSION + 1
    store.write(commit_name(Cursor(5, 1)), [content, xxhash.xxh3_128_digest(bytes(content))])
    with pytest.raises(StoreError, match="nothing is deleted"):
        pruned(store, RetentionPolicy(points=1))
    assert names(store) == before


def test_a_store_without_a_restore_point_keeps_what_it_has(store: Location) -> None:
    store.delete([name for name in names(store) if name.startswith("commits")])
    before = names(store)
    assert pruned(store, RetentionPolicy(points=1)) == PrunePlan()
    assert names(store) == before


class KilledError(Exception):
    pass


STEPS = [f"prune.{step}" for step in range(1, 6)]


@pytest.mark.parametrize("last", STEPS)
def test_a_crash_between_steps_leaves_every_point_whole(location: Location, last: str) -> None:
    put(location, history(6, 4, 1))
    create_snapshot(Catalog(location), "pinned", Cursor(3, 1), now_us=START_US)
    done: list[str] = []

    def crash(step: str) -> None:
        done.append(step)
        if step == last:
            raise KilledError

    with pytest.raises(KilledError):
        prune(Catalog(location), RetentionPolicy(points=2), now_us=START_US + 1, on_step=crash)
    assert done == STEPS[: STEPS.index(last) + 1]
    assert {3, 5, 6} <= set(epochs(location))
    pruned(location, RetentionPolicy(points=2))
    assert epochs(location) == [3, 5, 6]
    # A base and its two blocks, three older blocks, three commits, a snapshot.
    assert len(names(location)) == 3 + 3 + 3 + 1


def test_a_crash_amid_any_step_leaves_every_point_whole(
    store: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each single deletion, and whichever writer comes next."""
    deleted: list[str] = []
    delete = store.delete

    def check(listed: Iterable[str]) -> None:
        for name in listed:
            delete([name])
            deleted.append(name)
            assert {11, 12} <= set(epochs(store)), deleted

    monkeypatch.setattr(store, "delete", check)
    pruned(store, RetentionPolicy(points=2))
    assert len(deleted) == 10 + 18


def test_a_snapshot_made_while_pruning_keeps_its_files(store: Location) -> None:
    def make(step: str) -> None:
        if step == "prune.1":
            create_snapshot(Catalog(store), "late", Cursor(2, 1), now_us=START_US)

    prune(Catalog(store), RetentionPolicy(points=1), now_us=START_US, on_step=make)
    assert epochs(store) == [2, 12]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_history_what_stays_is_whole_and_nothing_else_does(seed: int) -> None:
    print(f"seed {seed}")
    draw = random.Random(seed)  # noqa: S311
    location = open_location("memory://random")
    location.delete(names(location))
    catalog = Catalog(location)
    commits: list[Commit] = []
    chains = [ShardChain(shard, None, ()) for shard in range(draw.randint(1, 3))]
    epoch, generation = 0, 1
    for _ in range(40):
        epoch += draw.randint(1, 3)
        if draw.random() < 0.1:  # a new writer goes on from some restore point
            generation += 1
            chains = list(draw.choice(commits).shards) if commits else chains
        elif draw.random() < 0.2:  # compacted
            chains = [
                ShardChain(c.shard, c.blocks[-1], (), c.positions) if c.blocks else c
                for c in chains
            ]
        at = Cursor(epoch, generation)
        chains = [ShardChain(c.shard, c.base, (*c.blocks, at), c.positions) for c in chains]
        commits.append(commit(epoch, chains, generation=generation))
        put(location, commits[-1:])
        if draw.random() < 0.1:
            pick = draw.choice(catalog.points()).at
            create_snapshot(catalog, f"s{epoch}", pick, now_us=0)
        if draw.random() < 0.2:
            points = draw.choice([None, draw.randint(1, 10)])
            n_bytes = draw.choice([None, draw.randint(1, 500)])
            policy = RetentionPolicy(points=points, bytes=n_bytes)
            prune(catalog, policy, now_us=START_US)
            commits = [one for one in commits if one.at in catalog.survey().commits]
            pinned = {snapshot.commit.at for snapshot in list_snapshots(location)}
            left = [point.at for point in catalog.points()]
            assert pinned | {at} <= set(left)
            assert points is None or len(set(left) - pinned) <= points
            epochs(location)
            needed = {
                name
                for one in catalog.survey().commits.values()
                for c in one.shards
                for name in [
                    *([base_name(c.shard, c.base)] if c.base else []),
                    *(block_name(c.shard, b) for b in c.blocks),
                ]
            }
            there = {n for n in names(location) if n.startswith(("blocks", "bases"))}
            # A base made on a chain that was left, and that the newest chain may yet begin at.
            usable = {base_name(c.shard, b) for c in chains for b in c.blocks}
            assert needed <= there <= needed | usable


@pytest.mark.parametrize("limits", [{"points": 0}, {"age_s": 0}, {"bytes": -1}])
def test_limits_that_keep_nothing_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(SpecError, match="set it above 0"):
        RetentionPolicy(**limits)


def test_a_snapshot_is_made_once(location: Location) -> None:
    put(location, history(3))
    catalog = Catalog(location)
    made = create_snapshot(catalog, "a", Cursor(2, 1), now_us=5)
    assert create_snapshot(catalog, "a", Cursor(2, 1), now_us=9) == made
    assert list_snapshots(location) == [made]
    assert made.commit.worker == b"\0worker"
    with pytest.raises(SpecError, match="of epoch 2; choose another name"):
        create_snapshot(catalog, "a", Cursor(3, 1), now_us=5)
    with pytest.raises(NoRestorePointError, match="nearest is 3"):
        create_snapshot(catalog, "b", Cursor(9, 1), now_us=5)
    for name in ("", "../a", "a/b", ".a", "x" * 101, "a\n", f"a{UNFINISHED}b"):
        with pytest.raises(SpecError, match="snapshot's name"):
            create_snapshot(catalog, name, Cursor(3, 1), now_us=5)
    with pytest.raises(NoRestorePointError, match="no snapshot 'b'; it has 'a'"):
        delete_snapshot(location, "b")


def test_a_snapshot_of_a_point_that_is_not_whole_is_refused(location: Location) -> None:
    put(location, history(3))
    location.delete([block_name(1, Cursor(2, 1))])
    with pytest.raises(NoRestorePointError, match="lacks 1 of its 6 files"):
        create_snapshot(Catalog(location), "a", Cursor(3, 1), now_us=5)
    assert list_snapshots(location) == []
