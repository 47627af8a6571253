"""The process of a replica: what it is told it does, and whatever fails, it answers on."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ps.client import RoutingClient
from ps.clock import SystemClock
from ps.coordinator.orders import ReplicaOrders
from ps.errors import JobBusyError
from serving.actor import ReplicaActor
from serving.client import PredictClient, RetrySettings
from serving.config import ServingConfig
from serving.errors import NoReplicaError, PredictError
from serving.host import ReplicaHost
from tests.ps.net.leaders import Leaders
from tests.serving.learning import EVERY, learn, make_specs
from tests.serving.world import SPEC, TABLE, make_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ps.coordinator.orders import ReplicaReport

DEADLINE_S = 20.0
CONTEXT = {"user_id": 3, "position": 1}
ITEMS = [{"item_id": 1}, {"item_id": 2}]


class Told:
    """The coordinator: what it was told, and what it tells."""

    def __init__(self, leaders: Leaders) -> None:
        self.orders = ReplicaOrders(leaders.directory)
        self.error: Exception | None = None
        self.reports: list[ReplicaReport] = []

    def serve(self, report: ReplicaReport) -> ReplicaOrders:
        self.reports.append(report)
        if self.error is not None:
            raise self.error
        return self.orders

    def work(self, report: object) -> object:
        raise AssertionError(f"no worker is here to report {report}")


@pytest.fixture
def leaders(tmp_path: Path) -> Iterator[Leaders]:
    made = Leaders(tmp_path, 2, make_specs=make_specs, learn=learn)
    made.learn(5)
    made.save()
    yield made
    made.close()


def _host(
    leaders: Leaders,
    told: Told,
    config: ServingConfig | None = None,
    *,
    number: int = 0,
    node_ip: str | None = None,
) -> ReplicaHost:
    return ReplicaHost(
        number,
        shards=2,
        specs=make_specs,
        features=SPEC,
        make_model=make_model,
        config=config or ServingConfig(),
        coordination=told,  # type: ignore[arg-type]  # what workers ask is not asked here
        connect=leaders.connect,
        store=leaders.location,
        clock=SystemClock(),
        fingerprint="f",
        node="here",
        node_ip=node_ip,
        beat_s=0.02,
        notice_s=0.2,
    )


@contextmanager
def _running(
    leaders: Leaders, told: Told, config: ServingConfig | None = None
) -> Iterator[ReplicaHost]:
    host = _host(leaders, told, config)
    host.start()
    try:
        yield host
    finally:
        assert host.stop()


def _wait_until(condition: Callable[[], bool], what: str = "") -> None:
    waiting = threading.Event()
    for _ in range(int(DEADLINE_S / 0.005)):
        if condition():
            return
        waiting.wait(0.005)
    raise AssertionError(f"never came true: {what}")


def _wait_for(host: ReplicaHost, leaders: Leaders) -> None:
    wanted = [tuple(cursor) for cursor in leaders.cursors()]
    _wait_until(
        lambda: [(s.epoch, s.generation) for s in host.replica.version().shards] == wanted,
        f"{wanted}, at {host.replica.version()}, {host.following.fault}",
    )


def _assert_equal(host: ReplicaHost, leaders: Leaders) -> None:
    client = RoutingClient(leaders.shards)
    reading = host.replica.read({TABLE: EVERY})
    np.testing.assert_array_equal(reading.rows[TABLE], client.pull({TABLE: EVERY})[TABLE])
    for name, wanted in client.pull_dense().items():
        np.testing.assert_array_equal(reading.dense[name], wanted)


def test_it_follows_reports_and_serves(leaders: Leaders) -> None:
    told = Told(leaders)
    with _running(leaders, told) as host, PredictClient(host.address) as client:
        _wait_for(host, leaders)
        _assert_equal(host, leaders)
        assert client.predict(CONTEXT, ITEMS, timeout_s=DEADLINE_S).probabilities.shape == (2,)
        _wait_until(lambda: told.reports[-1].status.ready)
        report = told.reports[-1]
        assert (report.replica, report.process, report.shards) == (0, host.process, 2)
        assert report.status.address == host.address
        assert list(report.status.epochs) == [at.epoch for at in leaders.cursors()]


def test_it_serves_nothing_before_it_has_the_model(leaders: Leaders) -> None:
    told = Told(leaders)
    told.error = JobBusyError("not yet")
    retry = RetrySettings(rounds=1)
    with (
        _running(leaders, told) as host,
        PredictClient(host.address, timeout_s=DEADLINE_S, retry=retry) as client,
    ):
        with pytest.raises(NoReplicaError):
            client.predict(CONTEXT, ITEMS)
        assert not host.hello().status.ready
        told.error = None
        _wait_until(lambda: _answers(client))


def _answers(client: PredictClient) -> bool:
    try:
        client.predict(CONTEXT, ITEMS)
    except PredictError:
        return False
    return True


def test_it_goes_on_as_told_last_while_the_coordinator_is_away(leaders: Leaders) -> None:
    told = Told(leaders)
    with _running(leaders, told) as host:
        _wait_for(host, leaders)
        told.error = JobBusyError("it is being restarted")
        leaders.learn(3)
        leaders.seal()
        _wait_for(host, leaders)
        _assert_equal(host, leaders)
        _wait_until(lambda: "being restarted" in (told.reports[-1].status.last_error or ""))


def test_it_applies_nothing_while_publishing_is_paused(leaders: Leaders) -> None:
    told = Told(leaders)
    with _running(leaders, told) as host:
        _wait_for(host, leaders)
        stood = host.replica.version()
        told.orders = ReplicaOrders(leaders.directory, publishing=False)
        beats = len(told.reports)
        _wait_until(lambda: len(told.reports) > beats + 2)
        leaders.learn(3)
        leaders.seal()
        beats = len(told.reports)
        _wait_until(lambda: len(told.reports) > beats + 2)
        assert host.replica.version() == stood
        told.orders = ReplicaOrders(leaders.directory)
        _wait_for(host, leaders)
        _assert_equal(host, leaders)


def test_it_serves_what_it_has_when_all_leaders_are_lost(leaders: Leaders) -> None:
    told = Told(leaders)
    with (
        _running(leaders, told) as host,
        PredictClient(host.address, timeout_s=DEADLINE_S) as client,
    ):
        _wait_for(host, leaders)
        for number in range(2):
            leaders.kill(number)
        told.orders = ReplicaOrders(leaders.tell())
        _wait_until(lambda: "no leader" in (host.hello().status.last_error or ""))
        age_s = host.hello().status.age_s
        assert age_s is not None
        client.predict(CONTEXT, ITEMS)
        _wait_until(lambda: (host.hello().status.age_s or 0.0) > age_s)
        for number in range(2):
            leaders.replace(number, 0)
        leaders.learn(2)
        leaders.seal()
        told.orders = ReplicaOrders(leaders.tell())
        _wait_for(host, leaders)
        _assert_equal(host, leaders)
        assert host.hello().status.last_error is None


class Reading:
    """Threads that read without a pause, and hold what they read against one state."""

    def __init__(self, host: ReplicaHost, client: PredictClient) -> None:
        self._host = host
        self._client = client
        first = host.replica.read({TABLE: EVERY})
        self._rows, self._unknown = first.rows[TABLE].copy(), dict(first.unknown)
        self._dense = {name: value.copy() for name, value in first.dense.items()}
        self._probabilities = client.predict(CONTEXT, ITEMS).probabilities
        self.wrong: list[object] = []
        self.rounds = 0
        self._ended = False
        self._threads = [threading.Thread(target=self._run) for _ in range(2)]

    @contextmanager
    def going_on(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._ended = True
            for thread in self._threads:
                thread.join(DEADLINE_S)

    def _run(self) -> None:
        while not self._ended:
            try:
                found = self._host.replica.read({TABLE: EVERY})
                same = np.array_equal(found.rows[TABLE], self._rows)
                if not same or dict(found.unknown) != self._unknown:
                    self.wrong.append(found)
                if any(not np.array_equal(found.dense[n], v) for n, v in self._dense.items()):
                    self.wrong.append(found)
                answer = self._client.predict(CONTEXT, ITEMS)
                if not np.array_equal(answer.probabilities, self._probabilities):
                    self.wrong.append(answer)
            except Exception as error:  # noqa: BLE001  # told at the end
                self.wrong.append(error)
            self.rounds += 1


def test_resharding_while_reading_gives_no_wrong_and_no_missing_row(leaders: Leaders) -> None:
    told = Told(leaders)
    with (
        _running(leaders, told) as host,
        PredictClient(host.address, timeout_s=DEADLINE_S) as client,
    ):
        _wait_for(host, leaders)
        _wait_until(lambda: _answers(client))
        reading = Reading(host, client)
        with reading.going_on():
            for shards in (3, 1, 2, 4):
                leaders.reshard(shards)
                told.orders = ReplicaOrders(leaders.tell())
                _wait_until(lambda shards=shards: host.replica.shards == shards)  # type: ignore[misc]
                _wait_for(host, leaders)
                before = reading.rounds
                _wait_until(lambda before=before: reading.rounds > before + 20)  # type: ignore[misc]
        assert reading.wrong == []
        print(f"{reading.rounds} rounds of reading")
        assert told.reports[-1].shards == 4
        leaders.learn(3)
        leaders.save()
        _wait_for(host, leaders)
        _assert_equal(host, leaders)


def test_a_reshard_that_cannot_be_read_yet_is_tried_again(leaders: Leaders) -> None:
    told = Told(leaders)
    with _running(leaders, told) as host:
        _wait_for(host, leaders)
        leaders.reshard(3)
        for leader in leaders.leaders:
            assert leader is not None
            leader.reachable = False
        told.orders = ReplicaOrders(leaders.tell())
        _wait_until(lambda: "cut off" in (host.hello().status.last_error or ""))
        assert host.replica.shards == 2
        assert host.replica.ready
        for leader in leaders.leaders:
            assert leader is not None
            leader.reachable = True
        _wait_for(host, leaders)
        _assert_equal(host, leaders)


def test_it_begins_at_the_number_of_shards_there_are(leaders: Leaders) -> None:
    leaders.reshard(3)
    leaders.tell()
    with _running(leaders, Told(leaders)) as host:
        _wait_for(host, leaders)
        _assert_equal(host, leaders)


def test_one_that_is_told_to_stop_costs_no_call(leaders: Leaders) -> None:
    tolds = [Told(leaders), Told(leaders)]
    hosts = [_host(leaders, told, number=number) for number, told in enumerate(tolds)]
    for host in hosts:
        host.start()
        _wait_for(host, leaders)
    errors: list[PredictError] = []
    done, stopped = threading.Event(), threading.Event()

    def load(client: PredictClient) -> None:
        while not done.is_set():
            try:
                client.predict(CONTEXT, ITEMS)
            except PredictError as error:
                errors.append(error)
                return

    with PredictClient([host.address for host in hosts], timeout_s=DEADLINE_S) as client:
        _wait_until(lambda: _answers(client))
        threads = [threading.Thread(target=load, args=(client,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        actor = ReplicaActor(lambda: hosts[0])

        def stay() -> None:
            actor.stay()
            stopped.set()

        staying = threading.Thread(target=stay)
        staying.start()
        assert not stopped.wait(0.05)
        tolds[0].orders = ReplicaOrders(leaders.directory, stop=True)
        assert stopped.wait(DEADLINE_S)
        assert hosts[1].hello().status.ready
        done.set()
        for thread in (*threads, staying):
            thread.join(DEADLINE_S)
    assert errors == []
    assert actor.stop()
    assert hosts[1].stop()


def test_a_port_that_is_taken_is_done_without(
    leaders: Leaders, caplog: pytest.LogCaptureFixture
) -> None:
    with _running(leaders, Told(leaders)) as first:
        port = int(first.address.rpartition(":")[2])
        config = ServingConfig(port=port, metrics_port=0)
        with _running(leaders, Told(leaders), config) as second:
            assert second.address != first.address
            assert f":{port}" in caplog.text
            assert "any free port" in caplog.text


@pytest.mark.parametrize(
    ("node_ip", "host"), [("192.0.2.7", "192.0.2.7"), ("2001:db8::1", "[2001:db8::1]")]
)
def test_its_address_can_be_used_from_other_machines(
    leaders: Leaders, node_ip: str, host: str
) -> None:
    made = _host(leaders, Told(leaders), ServingConfig(host="0.0.0.0"), node_ip=node_ip)  # noqa: S104
    assert made.address == ""
    actor = ReplicaActor(lambda: made)
    assert actor.run().status.address == made.address
    assert made.address.startswith(f"{host}:")
    assert actor.hello().node == "here"
    assert actor.stop()
    assert made.wait(0.0)
