"""The client while servers die, end, come and go: no call fails as long as one server is there."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Self

import pytest

from ps.clock import SystemClock
from serving.client import PredictClient, RetrySettings
from serving.errors import NoReplicaError, PredictError, PredictTimeoutError
from tests.serving.world import World, block, make_world

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from serving.server import PredictServer

CONTEXT = {"user_id": 3, "position": 1}
ITEMS = [{"item_id": 1}]
DEADLINE_S = 20.0


def _predicted(server: PredictServer) -> float:
    labels = {"method": "Predict", "code": "OK"}
    found = server.metrics.registry.get_sample_value("trilith_serving_requests_total", labels)
    return found or 0.0


def _predict(client: PredictClient) -> None:
    client.predict(CONTEXT, ITEMS)


class Child:
    """A server in a process of its own."""

    def __init__(self, port: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.serving.server_child", str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.target = f"127.0.0.1:{self.port}"

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        os.kill(self.process.pid, how)
        if how is signal.SIGKILL:
            self.close()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


class Load:
    """Threads that predict without a pause, and what went wrong."""

    def __init__(self, client: PredictClient, threads: int = 3) -> None:
        self.errors: list[PredictError] = []
        self.calls = 0
        self.slowest_s = 0.0
        self._client = client
        self._clock = SystemClock()
        self._ended = False
        self._progress = threading.Condition()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        for thread in self._threads:
            thread.join(DEADLINE_S)

    def wait_for(self, more: int) -> None:
        with self._progress:
            wanted = self.calls + more
            assert self._progress.wait_for(lambda: self.calls >= wanted, DEADLINE_S)

    def _run(self) -> None:
        while not self._ended:
            began_s = self._clock.monotonic_s()
            try:
                _predict(self._client)
            except PredictError as error:
                self.errors.append(error)
            with self._progress:
                self.calls += 1
                self.slowest_s = max(self.slowest_s, self._clock.monotonic_s() - began_s)
                self._progress.notify_all()


def _wait_until_used(client: PredictClient, target: str) -> None:
    """Until the client has found that a server answers."""
    for upstream in client._roster._servers:
        if upstream.target == target:
            deadline = SystemClock().monotonic_s() + DEADLINE_S
            waiting = threading.Event()
            while not (upstream.is_good() and upstream.is_connected):
                assert SystemClock().monotonic_s() < deadline
                waiting.wait(0.01)


@pytest.mark.parametrize("hedge_after_s", [None, 0.02])
def test_no_call_fails_while_servers_are_killed_one_after_the_other(
    hedge_after_s: float | None,
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)  # noqa: S311
    with ExitStack() as ends:
        children = [Child(), Child()]
        client = ends.enter_context(
            PredictClient(
                [child.target for child in children],
                timeout_s=DEADLINE_S,
                hedge_after_s=hedge_after_s,
            )
        )
        for child in children:
            _wait_until_used(client, child.target)
        with Load(client) as load:
            for kill in range(3):
                load.wait_for(rng.randrange(1, 200))
                dead = children[kill % 2]
                dead.kill()
                load.wait_for(50)
                children[kill % 2] = again = Child(dead.port)
                ends.callback(again.close)
                _wait_until_used(client, again.target)
        ends.callback(children[0].close)
        print(f"{load.calls} calls, the slowest {load.slowest_s * 1e3:.0f} ms")
        assert load.errors == []


def test_a_server_that_ends_in_order_gets_no_more_calls_once_clients_know() -> None:
    with make_world().server() as one, make_world().server() as two:
        with PredictClient([one.target, two.target], timeout_s=DEADLINE_S) as client:
            for target in (one.target, two.target):
                _wait_until_used(client, target)
            with Load(client) as load:
                load.wait_for(50)
                one.withdraw()
                _wait_until_passed_over(client, one.target)
                load.wait_for(20)  # what was under way
                before = _predicted(one)
                load.wait_for(200)
                assert _predicted(one) == before
                one.stop()
                load.wait_for(100)
            assert load.errors == []
        assert before > 0


def _wait_until_passed_over(client: PredictClient, target: str) -> None:
    [upstream] = [u for u in client._roster._servers if u.target == target]
    deadline = SystemClock().monotonic_s() + DEADLINE_S
    waiting = threading.Event()
    while upstream.is_good():
        assert SystemClock().monotonic_s() < deadline
        waiting.wait(0.01)


@contextmanager
def _hanging() -> Iterator[Child]:
    child = Child()
    try:
        yield child
    finally:
        child.close()


def test_a_server_that_hangs_costs_a_hedged_call_little() -> None:
    with make_world().server() as one, _hanging() as child:
        targets = [child.target, one.target]
        with PredictClient(targets, timeout_s=DEADLINE_S, hedge_after_s=0.05) as client:
            for target in targets:
                _wait_until_used(client, target)
            child.kill(signal.SIGSTOP)
            clock = SystemClock()
            began_s = clock.monotonic_s()
            for _ in range(8):
                _predict(client)
            print(f"8 calls in {clock.monotonic_s() - began_s:.2f} s")
            assert clock.monotonic_s() - began_s < DEADLINE_S / 2


def test_a_server_that_hangs_keeps_no_call_beyond_its_deadline_and_is_passed_over_then() -> None:
    with make_world().server() as one, _hanging() as child:
        targets = [child.target, one.target]
        with PredictClient(targets, timeout_s=DEADLINE_S) as client:
            for target in targets:
                _wait_until_used(client, target)
            child.kill(signal.SIGSTOP)
            clock = SystemClock()
            began_s = clock.monotonic_s()
            late = 0
            for _ in range(6):
                try:
                    client.predict(CONTEXT, ITEMS, timeout_s=0.2)
                except PredictTimeoutError:
                    late += 1
            assert clock.monotonic_s() - began_s < DEADLINE_S / 2
            assert late == 1
            # The connection is given up for lost, and then it costs nothing at all.
            [upstream] = [u for u in client._roster._servers if u.target == child.target]
            waiting = threading.Event()
            while upstream.is_connected:
                assert clock.monotonic_s() - began_s < DEADLINE_S
                waiting.wait(0.05)
            print(f"given up for lost after {clock.monotonic_s() - began_s:.1f} s")
            for _ in range(6):
                client.predict(CONTEXT, ITEMS, timeout_s=DEADLINE_S)


def test_a_target_that_nobody_answers_at_does_not_use_up_the_deadline() -> None:
    # Reserved for documentation: packets to it get lost, or are refused by the network.
    with make_world().server() as one:
        with PredictClient(["192.0.2.1:9", one.target], timeout_s=DEADLINE_S) as client:
            for _ in range(4):
                _predict(client)
        assert _predicted(one) == 4


class Targets:
    """A source of targets that a test changes."""

    def __init__(self, *targets: str) -> None:
        self.targets: Sequence[str] = targets
        self.error: Exception | None = None
        self.asked = 0

    def __call__(self) -> Sequence[str]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.targets


def test_targets_that_change_are_followed_at_once_where_all_others_failed() -> None:
    one, two = make_world().server(), make_world().server()
    with one, two:
        targets = Targets(one.target)
        with PredictClient(targets, timeout_s=DEADLINE_S, refresh_s=3600.0) as client:
            _predict(client)
            targets.targets = [two.target]
            one.stop()
            _predict(client)
            assert (_predicted(one), _predicted(two)) == (1, 1)
            targets.error = OSError("the job is away")
            _predict(client)
            assert _predicted(two) == 2


def test_servers_that_leave_the_targets_finish_what_is_under_way() -> None:
    one, two = make_world().server(), make_world().server()
    with one, two:
        targets = Targets(one.target, two.target)
        with PredictClient(targets, timeout_s=DEADLINE_S, refresh_s=0.005) as client:
            rng = random.Random(1)  # noqa: S311
            with Load(client) as load:
                for _ in range(30):
                    targets.targets = rng.sample([one.target, two.target], rng.randrange(1, 3))
                    load.wait_for(20)
            assert load.errors == []
            assert targets.asked > 5


def test_without_any_target_the_error_says_why() -> None:
    targets = Targets()
    retry = RetrySettings(rounds=2, first_s=0.001)
    with PredictClient(targets, timeout_s=DEADLINE_S, retry=retry) as client:
        with pytest.raises(NoReplicaError, match="no server is known; none is ready"):
            _predict(client)
        targets.error = OSError("the job is away")
        with pytest.raises(NoReplicaError, match="the job is away"):
            _predict(client)


def test_a_client_made_before_any_server_finds_the_first() -> None:
    targets = Targets()
    world: World = make_world(ready=False)
    retry = RetrySettings(rounds=1000)
    with (
        PredictClient(targets, timeout_s=DEADLINE_S, retry=retry) as client,
        world.server() as server,
    ):
        targets.targets = [server.target]
        timer = threading.Timer(0.05, lambda: world.replica.apply(block(1)))
        timer.start()
        _predict(client)
        timer.join()
