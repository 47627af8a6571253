"""The client: turns, failing over, retries within bounds, errors that say what they mean."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from ps.clock import SystemClock
from serving.client import PredictClient, RetrySettings
from serving.config import ServingConfig
from serving.errors import ConfigError, NoReplicaError, PredictTimeoutError
from tests.serving.world import block, make_world

if TYPE_CHECKING:
    from serving.server import PredictServer

CONTEXT = {"user_id": 3, "position": 1}
ITEMS = [{"item_id": 1}]
DEADLINE_S = 20.0


def _predicted(server: PredictServer) -> float:
    labels = {"method": "Predict", "code": "OK"}
    found = server.metrics.registry.get_sample_value("trilith_serving_requests_total", labels)
    return found or 0.0


def test_servers_take_turns() -> None:
    with make_world().server() as one, make_world().server() as two:
        with PredictClient([one.target, two.target], timeout_s=DEADLINE_S) as client:
            for _ in range(6):
                client.predict(CONTEXT, ITEMS)
        assert (_predicted(one), _predicted(two)) == (3, 3)


def test_calls_go_to_the_second_server_when_the_first_stops() -> None:
    one, two = make_world().server(), make_world().server()
    one.start()
    two.start()
    with PredictClient([one.target, two.target], timeout_s=DEADLINE_S) as client:
        for _ in range(2):
            client.predict(CONTEXT, ITEMS)
        one.stop()
        for _ in range(6):
            client.predict(CONTEXT, ITEMS)
        assert _predicted(two) == 7
    two.stop()


def test_a_server_without_a_model_is_passed_over_until_it_has_one() -> None:
    late = make_world(ready=False)
    with late.server() as one, make_world().server() as two:
        with PredictClient([one.target, two.target], timeout_s=DEADLINE_S) as client:
            for _ in range(4):
                client.predict(CONTEXT, ITEMS)
            assert (_predicted(one), _predicted(two)) == (0, 4)
            late.replica.apply(block(1))
            for _ in range(1_000):
                client.predict(CONTEXT, ITEMS)
                if _predicted(one):
                    break
        assert _predicted(one) > 0


class CountingRandom(random.Random):
    """Draws the longest wait, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(1)
        self.bounds: list[float] = []

    def uniform(self, a: float, b: float) -> float:  # noqa: ARG002  # the signature
        self.bounds.append(b)
        return b


def test_retries_are_bounded_and_their_waits_double() -> None:
    rng = CountingRandom()
    retry = RetrySettings(rounds=4, first_s=0.001, max_s=0.003)
    with (
        PredictClient("127.0.0.1:1", timeout_s=DEADLINE_S, retry=retry, rng=rng) as client,
        pytest.raises(NoReplicaError, match=r"127\.0\.0\.1:1: UNAVAILABLE"),
    ):
        client.predict(CONTEXT, ITEMS)
    assert rng.bounds == [0.001, 0.002, 0.003, 0.003]


def test_retries_end_with_the_deadline() -> None:
    clock = SystemClock()
    retry = RetrySettings(rounds=1_000_000, first_s=0.01, max_s=0.05)
    began = clock.monotonic_s()
    with (
        PredictClient("127.0.0.1:1", timeout_s=0.3, retry=retry) as client,
        pytest.raises((NoReplicaError, PredictTimeoutError)),
    ):
        client.predict(CONTEXT, ITEMS)
    assert clock.monotonic_s() - began < DEADLINE_S


def test_a_client_needs_targets_and_a_round() -> None:
    with pytest.raises(ConfigError, match="no targets"):
        PredictClient([])
    with pytest.raises(ConfigError, match="rounds is 0"):
        RetrySettings(rounds=0)


def test_a_server_that_comes_back_on_its_port_is_used_again() -> None:
    world = make_world()
    first = world.server()
    first.start()
    with PredictClient(first.target, timeout_s=DEADLINE_S) as client:
        client.predict(CONTEXT, ITEMS)
        first.stop()
        again = world.server(ServingConfig(port=first.port))
        again.start()
        retry = PredictClient(first.target, timeout_s=DEADLINE_S, retry=RetrySettings(rounds=200))
        with retry:
            retry.predict(CONTEXT, ITEMS)
        again.stop()
