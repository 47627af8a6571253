"""Connecting to a Ray cluster: a clear error within a deadline where none answers."""

from __future__ import annotations

import logging
import os
import socket
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import grpc

from cluster.errors import ClusterUnreachableError
from cluster.fleet.names import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Iterator

ANSWER_S = 10.0
_AUTO = "auto"
_CLIENT = "ray://"
# What Ray's head, and its server for clients outside, answer without being asked for anything.
_PING_GCS = "/ray.rpc.NodeInfoGcsService/CheckAlive"
_PING_CLIENT = "/ray.rpc.RayletDriver/ClusterInfo"
_NOT_RAY = {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL}
# A name or an address that is there answers at once; the rest is for what comes after.
_DIAL_S = 3.0


@contextmanager
def connected(
    address: str, *, deadline_s: float = ANSWER_S, show_logs: bool = False
) -> Iterator[str]:
    """Be connected to the cluster at an address, as a driver; nothing of Ray's is left afterwards.

    Gives the host:port it is connected to.

    address: auto (RAY_ADDRESS, or the cluster this machine belongs to), host:port, or ray://host:port
    from outside. show_logs: print what the job's processes print. Raises ClusterUnreachableError
    within about deadline_s.
    """
    found = _address_of(address)
    _dial(found, deadline_s)
    # Ray says on every start that it will leave GPUs alone some day.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    try:
        ray.init(
            found,
            namespace=NAMESPACE,
            log_to_driver=show_logs,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, OSError, ValueError) as error:
        ray.shutdown()
        raise ClusterUnreachableError(found, _first_line(error)) from error
    try:
        with nullcontext() if show_logs else _hushed():
            yield found.removeprefix(_CLIENT)
    finally:
        ray.shutdown()


@contextmanager
def _hushed() -> Iterator[None]:
    """Without Ray's page on every process that ended, which it prints even where no logs are wanted, and
    has no setting for: the coordinator says what it means for the job.
    """
    from ray._private import worker

    printer = getattr(worker, "print_to_stdstream", None)
    worker.print_to_stdstream = _nowhere
    try:
        yield
    finally:
        worker.print_to_stdstream = printer


def _nowhere(*_: object, **__: object) -> None:
    return


def _address_of(address: str) -> str:
    """host:port or ray://host:port. Raises ClusterUnreachableError where there is nothing to find."""
    if address != _AUTO:
        host, _, port = address.removeprefix(_CLIENT).rpartition(":")
        if not host or not port.isdigit():
            raise ClusterUnreachableError(
                address, "it is no address; give auto, HOST:PORT or ray://HOST:PORT"
            )
        return address
    given = os.environ.get("RAY_ADDRESS", "")
    if given and given != _AUTO:
        return _address_of(given)
    from ray._private.utils import read_ray_address

    here: str | None = read_ray_address(os.environ.get("RAY_TMPDIR"))
    if here is None:
        raise ClusterUnreachableError(
            _AUTO,
            "no cluster runs on this machine, and RAY_ADDRESS is not set; start one (ray start "
            "--head, or ray up), or give its address",
        )
    return here


def _dial(address: str, deadline_s: float) -> None:
    """See that something speaks gRPC there, which takes no process and no minute, as Ray's does."""
    host, _, port = address.removeprefix(_CLIENT).rpartition(":")
    for way in _ways(address, host):
        try:
            with socket.create_connection((way.strip("[]"), int(port)), min(_DIAL_S, deadline_s)):
                pass
        except (OSError, OverflowError) as error:
            what = "see that it runs, and that the port is right"
            if way != host:
                what = (
                    f"Ray goes to {way} for {host}, where this cluster does not listen: set "
                    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 here as where it was started, which keeps "
                    "it on loopback"
                )
            raise ClusterUnreachableError(address, f"{_first_line(error)}; {what}") from error
    if os.environ.get("RAY_USE_TLS", "0") == "1":
        return
    method = _PING_CLIENT if address.startswith(_CLIENT) else _PING_GCS
    with grpc.insecure_channel(
        f"{host}:{port}", options=[("grpc.enable_http_proxy", 0)]
    ) as channel:
        try:
            ping = channel.unary_unary(method, _plain, _plain)
            ping(b"", timeout=deadline_s, wait_for_ready=True)
        except grpc.RpcError as error:
            code = getattr(error, "code", lambda: None)()
            if code == grpc.StatusCode.DEADLINE_EXCEEDED:
                why = f"something else than Ray listens there, or it is stuck: no word in {deadline_s:g} s"
            elif code in _NOT_RAY:
                why = f"what listens there is not {_kind(address)}"
            else:
                return  # it is Ray, and has something to say of its own
            raise ClusterUnreachableError(address, why) from error


def _ways(address: str, host: str) -> list[str]:
    """The host, and where Ray goes in its stead: its driver never takes loopback for an answer, and
    tries for minutes.
    """
    if address.startswith(_CLIENT):
        return [host]
    from ray._private.services import resolve_ip_for_localhost

    meant: str = resolve_ip_for_localhost(host)
    return [host] if meant == host else [host, meant]


def _kind(address: str) -> str:
    if address.startswith(_CLIENT):
        return (
            "Ray's client server (port 10001 of the head); without ray:// give the head's port 6379"
        )
    return "the head of a Ray cluster (its port is 6379 as a rule; from outside, ray://HOST:10001)"


def _plain(message: bytes) -> bytes:
    return message


def _first_line(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (getattr(error, "strerror", None) or str(error)).strip().partition("\n")[0]
