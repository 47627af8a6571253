"""The health service: what it says, to whom, and that nobody who comes or goes holds it up."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ps.health import Health

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEADLINE_S = 30.0
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Call:
    """A call of Watch as gRPC makes it; hanging: a message is on its way until let_through is set."""

    def __init__(self, health: Health, service: str = "a", *, hanging: bool = False) -> None:
        self.said: list[int | None] = []
        self.sending = threading.Event()
        self.let_through = threading.Event()
        self.is_over = False
        self._at_end: list[Callable[[], None]] = []
        self._health = health
        self._service = service
        if not hanging:
            self.let_through.set()

    def begin(self) -> None:
        context: Any = self
        self._health.Watch(
            health_pb2.HealthCheckRequest(service=self._service), context, self._send
        )

    def add_callback(self, callback: Callable[[], None]) -> bool:
        self._at_end.append(callback)
        return not self.is_over

    def hang_up(self) -> None:
        self.is_over = True
        for callback in self._at_end:
            callback()

    def _send(self, answer: health_pb2.HealthCheckResponse | None) -> None:
        self.sending.set()
        assert self.let_through.wait(DEADLINE_S)
        self.said.append(None if answer is None else answer.status)


def test_who_watches_is_told_of_changes_and_of_nothing_twice() -> None:
    health = Health(["a", "b"])
    call, stranger = Call(health), Call(health, "c")
    call.begin()
    stranger.begin()
    for serving in (False, True, True, False):
        health.announce(serving=serving)
    health.end()
    health.announce(serving=True)
    health.end()
    assert call.said == [NOT_SERVING, SERVING, NOT_SERVING, None]
    assert stranger.said == [UNKNOWN, None]
    late = Call(health)
    late.begin()
    assert late.said == [NOT_SERVING, None]


def test_who_has_hung_up_is_told_nothing_any_more() -> None:
    health = Health(["a"])
    call, gone = Call(health), Call(health)
    call.begin()
    call.hang_up()
    gone.is_over = True
    gone.begin()
    health.announce(serving=True)
    health.end()
    assert call.said == [NOT_SERVING]
    assert gone.said == []


@pytest.mark.parametrize("what", ["comes", "is told", "is told of the end"])
def test_a_message_on_its_way_holds_up_nobody_who_leaves(what: str) -> None:
    """gRPC says that a message is out in the thread in which it tells of those who leave."""
    health = Health(["a"])
    slow, other = Call(health, hanging=what == "comes"), Call(health)
    other.begin()
    doing = slow.begin
    if what != "comes":
        slow.begin()
        slow.sending.clear()
        slow.let_through.clear()
        doing = health.end if what == "is told of the end" else told(health)
    thread = threading.Thread(target=doing)
    thread.start()
    assert slow.sending.wait(DEADLINE_S)
    leaving = threading.Thread(target=other.hang_up, daemon=True)
    leaving.start()
    leaving.join(DEADLINE_S)
    has_left = not leaving.is_alive()
    slow.let_through.set()
    thread.join(DEADLINE_S)
    assert has_left


def told(health: Health) -> Callable[[], None]:
    return lambda: health.announce(serving=True)


def test_what_is_said_last_is_true_however_messages_overtake_each_other() -> None:
    health = Health(["a"])
    call = Call(health, hanging=True)
    coming = threading.Thread(target=call.begin)
    coming.start()
    assert call.sending.wait(DEADLINE_S)
    telling = threading.Thread(target=told(health))
    telling.start()
    call.let_through.set()
    coming.join(DEADLINE_S)
    telling.join(DEADLINE_S)
    assert call.said == [NOT_SERVING, SERVING]


@pytest.fixture
def server() -> Iterator[tuple[Health, str]]:
    health = Health(["", "a"])
    threads = ThreadPoolExecutor(4)
    server = grpc.server(threads)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    health.announce(serving=True)
    yield health, f"127.0.0.1:{port}"
    health.end()
    assert server.stop(DEADLINE_S).wait(DEADLINE_S)
    threads.shutdown()


@pytest.mark.timeout(120)
def test_clients_that_come_and_go_stop_nobody(server: tuple[Health, str]) -> None:
    health, target = server
    told_times = [0] * 6

    def come_and_go(number: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]  # a connection for each
        for _ in range(50):
            with grpc.insecure_channel(target, options=options) as channel:
                stub: Any = health_pb2_grpc.HealthStub(channel)
                request = health_pb2.HealthCheckRequest(service="a")
                watch = stub.Watch(request, timeout=DEADLINE_S)
                next(iter(watch))
                told_times[number] += 1

    threads = [
        threading.Thread(target=come_and_go, args=(n,), daemon=True) for n in range(len(told_times))
    ]
    for thread in threads:
        thread.start()
    changes = 0
    while any(thread.is_alive() for thread in threads):
        health.announce(serving=changes % 2 == 0)
        changes += 1
        threads[changes % len(threads)].join(0.005)
    assert told_times == [50] * len(told_times)


def test_a_service_that_is_not_there_is_not_found(server: tuple[Health, str]) -> None:
    _, target = server
    with grpc.insecure_channel(target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        for service in ("", "a"):
            found = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=DEADLINE_S)
            assert found.status == SERVING
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(health_pb2.HealthCheckRequest(service="b"), timeout=DEADLINE_S)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
