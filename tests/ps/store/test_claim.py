"""Claims: one writer, a second refused by name, the dead let go at once, the replaced stopped."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ps.clock import ManualClock
from ps.errors import (
    CorruptFileError,
    FencedError,
    ForeignFileError,
    StoreError,
    StoreInUseError,
)
from ps.store.claim import Claim, claim_in_force, read_claims, take_claim
from ps.store.envelope import Kind, seal_record
from ps.store.holder import Holder, _start_ticks
from ps.store.identity import read_identity
from ps.store.names import IDENTITY, claim_name
from ps.store.opening import open_location

if TYPE_CHECKING:
    from ps.store.location import Location

ROOT = Path(__file__).parents[3]
LEASE_S = 30.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_700_000_000_000_000)


def elsewhere(who: str = "job b", **changes: object) -> Holder:
    """A process of another machine, of which nothing can be seen."""
    own = Holder.of_this_process(who)
    unseen: dict[str, object] = {"host": "far", "boot": "other", **changes}
    return dataclasses.replace(own, **unseen)  # type: ignore[arg-type]


def take(
    location: Location,
    clock: ManualClock,
    holder: Holder | None = None,
    *,
    takeover: bool = False,
    above: int = 0,
) -> Claim:
    return take_claim(
        location,
        holder or Holder.of_this_process("job a"),
        clock=clock,
        lease_s=LEASE_S,
        takeover=takeover,
        above=above,
    )


def test_generations_rise_from_one(location: Location, clock: ManualClock) -> None:
    for expected in (1, 2, 3):
        with take(location, clock) as claim:
            assert claim.generation == expected
            claim.check()
    assert [record.generation for record in read_claims(location)] == [1, 2, 3]
    assert take(location, clock, above=41).generation == 42


def test_a_second_writer_is_refused_by_name(location: Location, clock: ManualClock) -> None:
    take(location, clock, elsewhere("trilith train ctr.yaml", pid=4711, admin="far:7000"))
    with pytest.raises(StoreInUseError) as refused:
        take(location, clock)
    assert refused.value.holder == (
        "trilith train ctr.yaml (process 4711 on far, admin service at far:7000)"
    )
    assert len(read_claims(location)) == 1


def test_a_claim_is_free_when_its_lease_ends(location: Location, clock: ManualClock) -> None:
    first = take(location, clock, elsewhere())
    clock.advance_s(LEASE_S - 1)
    first.renew()
    clock.advance_s(LEASE_S - 1)
    with pytest.raises(StoreInUseError):
        take(location, clock)
    clock.advance_s(1)
    second = take(location, clock)
    assert second.generation == 2
    with pytest.raises(FencedError, match="generation 2, this process writes at 1"):
        first.check()
    with pytest.raises(FencedError):
        first.renew()
    first.release()
    second.check()
    assert claim_in_force(location, clock.now_us()) is not None


def test_a_released_claim_is_free_at_once(location: Location, clock: ManualClock) -> None:
    first = take(location, clock, elsewhere())
    first.release()
    first.release()
    assert claim_in_force(location, clock.now_us()) is None
    assert take(location, clock).generation == 2


def test_a_takeover_fences_a_living_writer(location: Location, clock: ManualClock) -> None:
    first = take(location, clock)
    second = take(location, clock, elsewhere(), takeover=True)
    second.check()
    with pytest.raises(FencedError):
        first.check()
    # It did not get the first one's lock, and it is respected all the same once that is let go.
    first.release()
    with pytest.raises(StoreInUseError, match="job b"):
        take(location, clock)


def test_a_dead_process_of_this_machine_is_seen_at_once(
    location: Location, clock: ManualClock
) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        own = Holder.of_this_process("job a")
        started = _start_ticks(process.pid) or 0
        take(location, clock, dataclasses.replace(own, pid=process.pid, started=started))
        assert read_claims(location)[0].holder.is_running()
        process.kill()
        process.wait()
    assert not read_claims(location)[0].holder.is_running()
    assert take(location, clock).generation == 2


def test_a_process_number_used_again_is_another_process(
    location: Location, clock: ManualClock
) -> None:
    own = Holder.of_this_process("job a")
    take(location, clock, dataclasses.replace(own, started=own.started - 1))
    assert take(location, clock).generation == 2


def test_a_killed_process_that_nobody_collected_is_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        own = Holder.of_this_process("job a")
        child = dataclasses.replace(own, pid=process.pid, started=_start_ticks(process.pid) or 0)
        assert child.is_running()
        process.kill()
        # Until it has ended, without collecting it.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert child.is_running() is False


def test_the_lock_tells_that_a_process_in_another_container_is_gone(
    tmp_path: Path, clock: ManualClock
) -> None:
    location = open_location(str(tmp_path))
    unseen = dataclasses.replace(Holder.of_this_process("job a"), namespace="another")
    first = take(location, clock, unseen)
    with pytest.raises(StoreInUseError):
        take(location, clock)
    assert first._lock is not None
    first._lock.release()  # as the kernel does
    assert take(location, clock).generation == 2


def test_a_claim_of_another_kernel_holds_whatever_the_lock_says(
    tmp_path: Path, clock: ManualClock
) -> None:
    location = open_location(str(tmp_path))
    first = take(location, clock, elsewhere())
    assert first._lock is not None
    first._lock.release()  # a network mount may keep a lock to one machine
    with pytest.raises(StoreInUseError):
        take(location, clock)


def test_of_threads_that_race_one_wins(location: Location, clock: ManualClock) -> None:
    ready = threading.Barrier(8)
    won: list[int] = []
    refused: list[str] = []

    def race() -> None:
        holder = Holder.of_this_process("racer")
        ready.wait()
        try:
            won.append(take(location, clock, holder).generation)
        except StoreInUseError as error:
            refused.append(error.holder)

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (won, len(refused)) == ([1], 7)


@pytest.mark.parametrize("store", ["folder", "s3"])
def test_of_processes_that_race_one_wins_and_killed_it_frees_the_store(
    store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = str(tmp_path)
    if store == "s3":
        url = f"{request.getfixturevalue('s3_bucket')}/race"
    command = [sys.executable, "-m", "tests.ps.store.claimant", url]
    with ExitStack() as stack:

        def start(number: int) -> subprocess.Popen[str]:
            return stack.enter_context(
                subprocess.Popen(
                    [*command, f"job {number}"],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )

        def tell(process: subprocess.Popen[str]) -> None:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()

        def hear(process: subprocess.Popen[str]) -> str:
            assert process.stdout is not None
            return process.stdout.readline().strip()

        for generation in (1, 2):
            racers = [start(number) for number in range(4)]
            for racer in racers:
                tell(racer)
            said = [hear(racer) for racer in racers]
            winners = [number for number, words in enumerate(said) if words.startswith("took")]
            assert len(winners) == 1, said
            assert said[winners[0]] == f"took {generation}"
            winner = racers[winners[0]]
            for number, words in enumerate(said):
                if number != winners[0]:
                    assert f"by job {winners[0]} (process {winner.pid} on " in words
            winner.kill()
            winner.wait()
            for racer in racers:
                if racer is not winner:
                    tell(racer)


def test_a_damaged_claim_holds_nothing_and_counts_all_the_same(
    location: Location, clock: ManualClock
) -> None:
    first = take(location, clock, elsewhere())
    data = bytearray(location.read(claim_name(1)))
    data[20] ^= 1
    location.write(claim_name(1), [data])
    assert read_claims(location) == []
    first.check()  # nobody has taken over
    clock.advance_s(LEASE_S / 2)
    first.renew()
    assert [record.generation for record in read_claims(location)] == [1]
    location.write(claim_name(1), [data])
    assert take(location, clock).generation == 2
    with pytest.raises(FencedError):
        first.check()


def test_who_replaces_a_claim_under_its_own_number_fences_it(
    location: Location, clock: ManualClock
) -> None:
    """As happens on a store that does not know exclusive creation."""
    first = take(location, clock)
    other = open_location("memory://elsewhere")
    take(other, clock, elsewhere(), takeover=True, above=0)
    location.write(claim_name(1), [other.read(claim_name(1))])
    other.delete(info.name for info in other.list())
    with pytest.raises(FencedError):
        first.check()


def test_a_claim_that_was_deleted_stops_its_writer(location: Location, clock: ManualClock) -> None:
    first = take(location, clock)
    location.delete([claim_name(1)])
    with pytest.raises(StoreError, match="has been deleted"):
        first.check()


def test_renewing_tells_where_the_admin_service_is(location: Location, clock: ManualClock) -> None:
    claim = take(location, clock)
    claim.renew()
    claim.renew(admin="127.0.0.1:7000")
    claim.renew()
    in_force = claim_in_force(location, clock.now_us())
    assert in_force is not None
    assert in_force.holder.admin == "127.0.0.1:7000"


def test_the_first_writer_makes_it_a_store(location: Location, clock: ManualClock) -> None:
    assert read_identity(location) is None
    take(location, clock).release()
    identity = read_identity(location)
    assert identity is not None
    assert identity.created_us == clock.now_us()
    location.write(IDENTITY, [b"damaged"])
    with pytest.raises(CorruptFileError):
        read_identity(location)
    take(location, clock)
    assert read_identity(location) is not None


def test_a_store_of_another_layout_is_left_alone(location: Location, clock: ManualClock) -> None:
    location.write(IDENTITY, [seal_record(Kind.IDENTITY, [2, 0])])
    with pytest.raises(ForeignFileError, match="version 2"):
        take(location, clock)
    assert [info.name for info in location.list()] == [IDENTITY]
