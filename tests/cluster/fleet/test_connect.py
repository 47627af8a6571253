"""Addresses where no Ray cluster answers."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import psutil
import pytest

from cluster.errors import ClusterUnreachableError
from cluster.fleet.connect import connected


def refusal(address: str, deadline_s: float = 10.0) -> str:
    """What is said, within the deadline and with nothing of Ray's left behind."""
    began_s = time.monotonic()
    with (
        pytest.raises(ClusterUnreachableError) as caught,
        connected(address, deadline_s=deadline_s),
    ):
        pass
    assert time.monotonic() - began_s < deadline_s + 5.0
    assert not [one for one in psutil.Process().children() if "ray" in one.name()]
    return str(caught.value)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_an_address_where_nobody_listens(address: str) -> None:
    assert "Connection refused" in refusal(address)


def test_an_address_where_nobody_speaks() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        said = refusal(f"127.0.0.1:{silent.getsockname()[1]}", deadline_s=1.0)
    assert "something else than Ray listens there, or it is stuck: no word in 1 s" in said


@pytest.mark.parametrize(("scheme", "said"), [("", "not the head"), ("ray://", "without ray://")])
def test_an_address_where_something_else_listens(scheme: str, said: str) -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        assert said in refusal(f"{scheme}127.0.0.1:{port}")
    finally:
        server.stop(None)


@pytest.mark.parametrize("address", ["nonsense", "host:", ":6379", "host:port"])
def test_what_is_no_address(address: str) -> None:
    assert "give auto, HOST:PORT or ray://HOST:PORT" in refusal(address)


def test_a_machine_of_no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert "no cluster runs on this machine, and RAY_ADDRESS is not set" in refusal("auto")


def test_auto_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:2")
    assert "127.0.0.1:2" in refusal("auto")


def test_where_ray_goes_in_place_of_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would try for minutes."""
    monkeypatch.setattr("ray._private.services.resolve_ip_for_localhost", lambda _: "127.0.0.2")
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        said = refusal(f"127.0.0.1:{elsewhere.getsockname()[1]}")
    assert "Ray goes to 127.0.0.2 for 127.0.0.1" in said
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0" in said
