"""What a coordinator commits, when, and what it does where that cannot be."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from ps.errors import (
    BlockGapError,
    IncompatibleModelError,
    JobBusyError,
    StoreInUseError,
    StoreUnavailableError,
)
from ps.shard_spec import ShardSpec
from ps.store.catalog import Catalog
from ps.store.resume import GoOnFrom
from tests.ps.coordinator import stream
from tests.ps.coordinator.fleet import DEADLINE_S, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.ps.coordinator.world import World


def test_every_restore_point_is_a_consistent_model(make_world: Callable[..., World]) -> None:
    world = make_world(
        shards=3, workers=2, commit_every_s=0.01, partitions={"p": 3_000, "q": 2_500}
    )
    world.started()
    world.finish()
    world.coordinator.stop()
    catalog = Catalog(world.fleet.location)
    points = catalog.points()
    assert len(points) > 3
    epochs = [point.at.epoch for point in points]
    assert epochs == sorted(set(epochs))
    for point in points:
        commit = catalog.read(point.at)
        # Each shard by itself: it has what its own positions say, and no more.
        for shard, found in enumerate(world.shards_of(commit)):
            expected = stream.expected(commit.shards[shard].positions)
            owned = {fid: n for fid, n in expected.items() if stream.owner(fid, 3) == shard}
            assert stream.counts_in([found]) == owned
        # Before anything was learned, nobody has anything to say.
        counted_upto = stream.positions_in(commit.worker) if commit.positions else {}
        for partition, at in commit.positions.items():
            assert counted_upto[partition] >= at


def test_a_quiet_job_makes_no_restore_points(make_world: Callable[..., World]) -> None:
    world = make_world(commit_every_s=0.01)
    world.started()
    world.finish(saved=True)
    newest = world.newest()
    sealed = world.coordinator.job.numbering.newest
    until(lambda: world.coordinator.job.numbering.newest > sealed + 20, "epochs go on")
    assert world.newest().at == newest.at
    for shard in range(2):
        at = world.fleet.leading(shard).port.hello().cursor
        assert at is not None
        assert at.epoch > newest.at.epoch
    world.fleet.partitions["p"] += 50
    world.finish(saved=True)
    assert world.newest().at.epoch > sealed + 20
    world.check_at_end()


def test_epochs_go_on_above_any_there_was(make_world: Callable[..., World]) -> None:
    world = make_world(commit_every_s=3600.0)
    world.started()
    world.coordinator.job.numbering.note(5_000)
    world.finish()
    # None of it is in the store: a successor sees it in what the processes hold.
    world.coordinator_dies().wait_whole(DEADLINE_S)
    assert world.coordinator.job.numbering.newest > 5_000
    commit = world.check_at_end()
    assert commit.at.epoch > 5_000


def test_a_shard_that_cannot_be_linked_is_restored(make_world: Callable[..., World]) -> None:
    world = make_world(commit_every_s=3600.0)
    coordinator = world.started()
    world.limit(100)
    world.finish()
    coordinator.commits.commit()
    world.limit(200)
    world.finish()
    seat = world.fleet.leading(1)
    generation = coordinator.directory.leaders[1]

    def lose(command: str) -> None:
        if command == "save":
            seat.hook = None
            raise BlockGapError(1, 1, 2)

    seat.hook = lose
    coordinator.commits.commit()
    until(lambda: coordinator.directory.leaders[1] not in (None, generation), "it is restored")
    assert any("restored from the store" in said for said in world.said)
    world.limit(None)
    world.check_at_end()


@pytest.mark.parametrize("standbys", [0, 1])
@pytest.mark.parametrize("command", ["seal", "save"])
def test_a_shard_that_is_lost_as_the_job_ends_is_waited_for(
    make_world: Callable[..., World], command: str, standbys: int
) -> None:
    world = make_world(standbys=standbys, commit_every_s=3600.0)
    world.started()
    world.finish()
    seat = world.fleet.leading(1)

    def die(asked: str) -> None:
        if asked == command and world.coordinator.job.holds.number is not None:
            seat.hook = None
            seat.kill()
            if not standbys:
                seat.start()

    seat.hook = die
    world.check_at_end()
    assert seat.hook is None


def test_a_store_that_fails_delays_restore_points_and_nothing_else(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(commit_every_s=0.01)
    coordinator = world.started()
    world.limit(100)
    world.finish(saved=True)
    down = threading.Event()
    writer = coordinator.job.keeping._writer
    commit = writer.commit_written

    def fail(*args: object) -> object:
        if down.is_set():
            raise StoreUnavailableError("the store is away")
        return commit(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(writer, "commit_written", fail)
    down.set()
    world.limit(200)
    world.finish()
    until(lambda: coordinator.job.keeping.status().state == "failing", "it is told")
    assert world.newest().positions["p"] == 100
    down.clear()
    world.finish(saved=True)
    until(lambda: coordinator.job.keeping.status().state == "ok", "it works again")
    world.limit(None)
    world.check_at_end()


def test_of_two_coordinators_the_older_is_refused(make_world: Callable[..., World]) -> None:
    world = make_world(workers=1)
    old = world.started()
    until(lambda: world.position("p") >= 50, "some learning")
    with pytest.raises(StoreInUseError):
        world.coordinate()
    with pytest.raises(StoreInUseError):  # a successor of another job is none
        world.coordinate(successor=True, name="another job")
    new = world.coordinate(successor=True)  # though the old one goes on
    new.wait_whole(DEADLINE_S)
    until(lambda: old.has_been_replaced, "the old one knows")
    report = new.job.members.worker(0)
    if report is not None:
        with pytest.raises(JobBusyError, match="replaced"):
            old.work(report)
    assert any("has been replaced" in said for said in world.said)
    world.check_at_end()


def test_a_fresh_start_goes_on_from_the_store(make_world: Callable[..., World]) -> None:
    world = make_world(shards=2)
    world.started()
    world.limit(100)
    world.finish()
    world.coordinator.stop()
    first = world.newest()
    restarted(world)
    world.limit(200)
    world.finish(saved=True)
    world.coordinator.stop()
    # With other shards than the store has.
    world.shards = 3
    world.fleet.resize(3, 0.0)
    restarted(world)
    assert len(world.newest().shards) == 3  # at once
    world.finish()
    world.coordinator.stop()
    # From the first restore point again, though there are newer ones.
    world.limit(100)
    restarted(world, go_on_from=GoOnFrom(epoch=first.at.epoch))
    assert world.position("p") == 100
    # Its successor does not go back once more.
    world.limit(150)
    world.finish(saved=True)
    world.coordinator_dies().wait_whole(DEADLINE_S)
    assert world.position("p") == 150
    world.limit(None)
    world.check_at_end()


def test_the_claim_stays_fresh_while_nothing_is_saved(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ps.coordinator.coordinator._RENEW_S", 0.01)
    world = make_world(commit_every_s=3600.0, workers=0)
    coordinator = world.started()
    looked = threading.Semaphore(0)
    check = coordinator.job.keeping.check

    def count() -> None:
        check()
        looked.release()

    monkeypatch.setattr(coordinator.job.keeping, "check", count)
    for _ in range(5):
        assert looked.acquire(timeout=DEADLINE_S)
    assert coordinator.job.keeping.newest is None


def test_a_worker_that_is_told_to_end_learns_nothing_after_the_last_restore_point(
    make_world: Callable[..., World],
) -> None:
    world = make_world(workers=2, partitions={"p": 5_000, "q": 5_000})
    world.started()
    until(lambda: world.position("p") >= 50, "some learning")
    commit = world.coordinator.stop()
    assert commit is not None
    assert commit.aligned
    assert commit.at == world.newest().at
    assert world.position("p") == commit.positions["p"] < 5_000
    assert world.counts(commit) == stream.expected(commit.positions)


def restarted(world: World, **changes: object) -> None:
    """Everything anew."""
    for seat in world.fleet.all_seats():
        seat.kill()
        seat.start()
    world.coordinate(**changes).wait_whole(DEADLINE_S)  # type: ignore[arg-type]


def test_a_store_of_another_model_is_refused(make_world: Callable[..., World]) -> None:
    world = make_world()
    world.started()
    world.finish()
    world.coordinator.stop()

    def others(shards: int) -> tuple[ShardSpec, ...]:
        return tuple(ShardSpec("m", (), shard=number) for number in range(shards))

    with pytest.raises(IncompatibleModelError):
        world.coordinate(specs_for=others)
    restarted(world)  # the claim was given up


def test_what_workers_counted_is_exact_where_nobody_dies(
    make_world: Callable[..., World],
) -> None:
    world = make_world(workers=3, partitions={f"p{n}": 100 for n in range(5)})
    world.started()
    commit = world.check_at_end()
    assert stream.examples_in(commit.worker) == 500
