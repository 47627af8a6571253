"""What an operator has a job do, while workers learn and processes die."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from ps.coordinator import holding
from ps.coordinator.knowledge import StreamStatus
from ps.coordinator.target import ClusterTarget
from ps.errors import JobBusyError, NoRestorePointError, ShardUnavailableError, SpecError
from tests.ps.coordinator import stream
from tests.ps.coordinator.fleet import DEADLINE_S, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from ps.admin.restore_points import PointStore
    from ps.admin.target import AdminTarget
    from ps.store.commit import Commit, Skips
    from tests.ps.coordinator.world import World


class Knowledge:
    """See StreamKnowledge, of the stream of these tests."""

    def status(self, state: bytes | None) -> StreamStatus:
        return StreamStatus(0 if state is None else stream.examples_in(state), {"auc": 0.5})

    def left_out(self, store: PointStore, target: Commit, skips: Skips) -> Skips:
        left_out = dict(target.skips)
        for partition, ranges in skips.items():
            furthest = max(chain.positions.get(partition, 0) for chain in target.shards)
            if any(begin < furthest for begin, _ in ranges):
                raise SpecError(f"{store.url} has learned a part of that")
            left_out[partition] = (*left_out.get(partition, ()), *ranges)
        return left_out

    def without(self, skips: Skips, other: Skips) -> Skips:
        return {partition: ranges for partition, ranges in skips.items() if partition not in other}


def target_of(world: World) -> AdminTarget:
    return ClusterTarget(world.coordinator, Knowledge())


def learned(world: World, partition: str, upto: int) -> None:
    until(lambda: world.position(partition) >= upto, f"{partition} at {upto}; {world.said[-5:]}")


def test_a_snapshot_is_of_all_shards_at_one_position(make_world: Callable[..., World]) -> None:
    world = make_world(shards=3, workers=2)
    world.started()
    learned(world, "p", 50)
    target = target_of(world)
    point = target.create_snapshot("first")
    assert point.aligned
    assert point.pinned_by == "first"
    with pytest.raises(SpecError, match="already"):
        target.create_snapshot("first")
    world.finish()
    at_end = target.create_snapshot("last")
    again = target.create_snapshot("last-again")  # though nothing happened in between
    assert again.epoch > at_end.epoch
    assert again.positions == at_end.positions
    commit = world.commit_of(point.epoch)
    assert world.counts(commit) == stream.expected(commit.positions)
    world.check_at_end()


@pytest.mark.parametrize(("before", "after"), [(2, 3), (3, 1), (1, 4)])
@pytest.mark.parametrize("standbys", [0, 1])
def test_a_job_goes_on_with_other_shards(
    make_world: Callable[..., World], before: int, after: int, standbys: int
) -> None:
    world = make_world(shards=before, standbys=standbys, workers=2)
    world.started()
    learned(world, "p", 50)
    report = target_of(world).reshard(after, dry_run=False)
    assert (report.shards_before, report.shards_after) == (before, after)
    assert len(world.newest().shards) == after
    directory = world.coordinator.directory
    assert directory.shards == after
    assert directory.is_whole
    until(lambda: len(world.fleet.all_seats()) == after * (1 + standbys), "others are retired")
    successor = world.coordinator_dies()  # asked for `before` in its job file
    successor.wait_whole(DEADLINE_S)
    assert len(world.check_at_end().shards) == after


def test_a_rollback_forgets_what_came_after_and_leaves_out_what_is_told(
    make_world: Callable[..., World],
) -> None:
    world = make_world(standbys=1, workers=2)
    world.limit(100)
    world.started()
    world.finish()
    target = target_of(world)
    good = target.create_snapshot("good")
    world.limit(None)
    world.finish(saved=True)
    skips: Skips = {"p": ((150, 250),)}
    planned = target.rollback(good.epoch, skips, dry_run=True)
    world.limit(200)
    report = target.rollback(good.epoch, skips, dry_run=False)
    assert report.positions == {"p": 100, "q": 100}
    assert (planned.rows_changed, planned.rows_removed) == (
        report.rows_changed,
        report.rows_removed,
    )
    world.finish()
    with pytest.raises(SpecError, match="learned a part"):
        target.rollback(world.newest().at.epoch, {"p": ((10, 20),)}, dry_run=False)
    successor = world.coordinator_dies()
    successor.wait_whole(DEADLINE_S)
    assert successor.job.ownership.skips == skips
    world.limit(None)
    world.check_at_end(skips)


def test_a_rollback_that_breaks_off_is_not_done(make_world: Callable[..., World]) -> None:
    world = make_world(shards=3, workers=1)
    world.limit(100)
    world.started()
    world.finish()
    target = target_of(world)
    good = target.create_snapshot("good")
    world.limit(200)
    world.finish()
    seat = world.fleet.leading(2)

    def die(command: str) -> None:
        if command == "go_back":
            seat.hook = None
            seat.kill()
            raise ShardUnavailableError(seat.name, "it died")

    seat.hook = die
    with pytest.raises(ShardUnavailableError):
        target.rollback(good.epoch, {"p": ((150, 250),)}, dry_run=False)
    assert target.status().skips == {}
    seat.start()
    world.limit(None)
    world.check_at_end()


def test_another_process_leads_after_a_failover(make_world: Callable[..., World]) -> None:
    world = make_world(standbys=1)
    world.started()
    learned(world, "p", 50)
    follower = next(s for s in world.fleet.seats(0) if s.name != world.fleet.leading(0).name)
    until(lambda: follower.port.hello().cursor is not None, "there is a standby")
    before = world.coordinator.directory.leaders[0]
    report = target_of(world).failover(0)
    after = world.coordinator.directory.leaders[0]
    assert before is not None
    assert after is not None
    assert (report.source, report.generation) == ("standby", after.generation)
    assert after.generation > before.generation
    assert after.address != before.address
    world.check_at_end()


def test_without_a_standby_a_failover_restores_from_the_store(
    make_world: Callable[..., World],
) -> None:
    world = make_world()
    world.started()
    learned(world, "p", 50)
    target = target_of(world)
    assert target.failover(1).source == "store"
    with pytest.raises(SpecError, match="no shard 2"):
        target.failover(2)
    world.check_at_end()


def test_training_stands_still_while_it_is_paused(make_world: Callable[..., World]) -> None:
    world = make_world(workers=2)
    world.started()
    target = target_of(world)
    learned(world, "p", 30)
    target.pause("training")
    until(
        lambda: all(
            report.held is not None for report in world.coordinator.job.members.workers().values()
        ),
        "all hold",
    )
    at = world.position("p")
    point = target.create_snapshot("paused")
    assert (target.status().state, point.positions["p"], world.position("p")) == ("paused", at, at)
    target.pause("training")
    target.resume("training")
    target.pause("publishing")
    assert target.status().paused == ("publishing",)
    with pytest.raises(SpecError, match="publishing is paused"):
        target.reshard(3, dry_run=False)
    target.resume("publishing")
    world.check_at_end()


def test_a_worker_that_does_not_come_to_rest_makes_the_job_busy(
    make_world: Callable[..., World],
) -> None:
    world = make_world(workers=2)
    world.started()
    learned(world, "p", 30)
    stuck = world.fleet.pool[1]
    stuck.hang()
    with (
        pytest.raises(JobBusyError, match=r"worker\(s\) 1 did not come to rest"),
        holding.held(world.coordinator.job, "a test", 0.3),
    ):
        raise AssertionError("it is not held")
    assert world.coordinator.job.holds.number is None
    stuck.kill()
    stuck.start()
    world.check_at_end()


def test_looking_at_tables_and_rows(make_world: Callable[..., World]) -> None:
    world = make_world(shards=3)
    world.started()
    world.finish()
    target = target_of(world)
    [table] = target.tables()
    assert table.rows == stream.FIDS
    assert len(table.rows_by_shard) == 3
    counts = stream.expected(world.fleet.partitions)
    for fid in (0, 7, 23):
        [row] = target.inspect_fid(fid, stream.TABLE)
        assert row.weights == [counts[fid]]
    [slot] = target.inspect_slot(0, stream.TABLE, 5)
    assert (slot.rows, len(slot.examples)) == (stream.FIDS, 5)
    assert target.expire() == {stream.TABLE: 0}
    until(lambda: len(target.status().shards) == 3, "all shards were looked at")
    status = target.status()
    assert status.state == "finished"
    assert status.examples == sum(world.fleet.partitions.values())
    assert status.store is not None
    assert target.prune(dry_run=True).dry_run
    with pytest.raises(NoRestorePointError):
        target.rollback(10**6, {}, dry_run=True)


def test_operations_take_turns(make_world: Callable[..., World]) -> None:
    world = make_world(shards=1, workers=2, partitions={"p": 3_000, "q": 2_000})
    world.started()
    learned(world, "p", 30)
    target = target_of(world)
    failed: list[Exception] = []

    def take(number: int) -> None:
        try:
            target.create_snapshot(f"s{number}")
        except Exception as error:  # noqa: BLE001
            failed.append(error)

    threads = [threading.Thread(target=take, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    target.reshard(2, dry_run=False)
    for thread in threads:
        thread.join(DEADLINE_S)
    assert failed == []
    points = [point for point in target.restore_points() if point.pinned_by]
    assert sorted(point.pinned_by or "" for point in points) == ["s0", "s1", "s2"]
    for point in points:
        commit = world.commit_of(point.epoch)
        assert world.counts(commit) == stream.expected(commit.positions)
    world.check_at_end()
