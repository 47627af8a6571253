"""One server as the client sees it: its channel, whether it is healthy, and the calls under way."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving import predict_pb2 as pb
from serving import predict_pb2_grpc as pb_grpc
from serving.errors import (
    NoReplicaError,
    PredictError,
    PredictTimeoutError,
    RequestRefusedError,
    ServerFaultError,
    TooLargeError,
)

if TYPE_CHECKING:
    from ps.clock import Clock

_SERVICE = pb.DESCRIPTOR.services_by_name["Predict"].full_name

_OPTIONS: tuple[tuple[str, Any], ...] = (
    # A server that comes back is found within half a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    # How long a try to connect may take, in spite of its name.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    # A machine that vanishes without a word is noticed: what is sent to it must be confirmed within
    # a second, and where nothing is sent it is asked every two. gRPC waits for a ping's answer as
    # long as its ping timeout says, a minute by default, whatever the timeout of keepalive.
    ("grpc.keepalive_time_ms", 2_000),
    ("grpc.keepalive_timeout_ms", 1_000),
    ("grpc.http2.ping_timeout_ms", 1_000),
    ("grpc.http2.max_pings_without_data", 0),
)

_ERRORS: dict[grpc.StatusCode, type[PredictError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: RequestRefusedError,
    grpc.StatusCode.NOT_FOUND: RequestRefusedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: TooLargeError,
    grpc.StatusCode.UNAVAILABLE: NoReplicaError,
    # Nobody cancels here: it is a server that ends, and whose grace was over.
    grpc.StatusCode.CANCELLED: NoReplicaError,
    grpc.StatusCode.DEADLINE_EXCEEDED: PredictTimeoutError,
    grpc.StatusCode.INTERNAL: ServerFaultError,
}
# How gRPC tells of a connection that broke in the middle of a call, other than by UNAVAILABLE.
_BROKEN = ("RST_STREAM", "Stream removed", "Socket closed", "Connection reset")

# A server that did not answer is passed over this long, though its health may say that all is well.
_BENCHED_S = 1.0
# After the end of a watch, before the next: gRPC waits by itself for a server that is not there.
_WATCH_AGAIN_S = 0.05


class Upstream:
    """One server. May be used from any number of threads.

    A thread watches its health, by the standard service: a server that is lost, or says NOT_SERVING,
    is known to be so before anybody calls it, and known to be back.
    """

    def __init__(self, target: str, root_certificates: bytes | None, clock: Clock) -> None:
        self.target = target
        self._clock = clock
        self._channel = _channel(target, root_certificates)
        stub = pb_grpc.PredictStub(self._channel)
        self._calls: dict[str, Any] = {"Predict": stub.Predict, "GetModel": stub.GetModel}
        self._lock = threading.Lock()
        self._is_serving = False
        self._has_failed = False
        self._benched_until_s: float | None = None
        self._under_way = 0
        self._retired = False
        self._closed = False
        self._closing = threading.Event()
        threading.Thread(target=self._watch, name=f"health {target}", daemon=True).start()

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection to a server that serves, as far as is known."""
        return self._is_serving

    def is_good(self) -> bool:
        """Whether a call would probably be answered; True of one that was never tried."""
        if self._has_failed:
            return False
        until_s = self._benched_until_s
        return until_s is None or self._clock.monotonic_s() >= until_s

    def ask(self, method: str, request: object, timeout_s: float) -> Any:
        """The answer. Raises a PredictError: NoReplicaError where another server should be asked."""
        self._begin()
        try:
            return self._calls[method](request, timeout=max(timeout_s, 0.0))
        except grpc.RpcError as error:
            failure = self.named(error)
        finally:
            self._end()
        raise failure

    def ask_soon(self, method: str, request: object, timeout_s: float) -> Any:
        """The call, as gRPC's future of its answer; named() says what its errors mean.

        Raises NoReplicaError where it cannot even be begun.
        """
        self._begin()
        call = self._calls[method].future(request, timeout=max(timeout_s, 0.0))
        call.add_done_callback(lambda _: self._end())
        return call

    def named(self, error: grpc.RpcError) -> PredictError:
        """The error of ours that says what a gRPC error means; a server that is gone is benched."""
        # Every error of a call is a grpc.Call as well, which its type cannot say.
        call: Any = error
        code: grpc.StatusCode = call.code()
        details: str = call.details() or ""
        kind = _ERRORS.get(code, PredictError)
        if code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN) and any(
            sign in details for sign in _BROKEN
        ):
            kind = NoReplicaError
        if kind in (NoReplicaError, PredictTimeoutError):
            self.bench()
        return kind(f"{code.name}: {details}", self.target)

    def bench(self) -> None:
        """Pass it over while there are others: for a moment, or until its health can be told."""
        self._has_failed |= not self._is_serving
        self._benched_until_s = self._clock.monotonic_s() + _BENCHED_S

    def retire(self) -> None:
        """Close it once the calls under way have ended."""
        with self._lock:
            self._retired = True
            is_idle = self._closed = self._under_way == 0
        if is_idle:
            self.close()

    def close(self) -> None:
        """End the connection; calls under way fail."""
        with self._lock:
            self._closed = True
        self._closing.set()
        self._channel.close()

    def _begin(self) -> None:
        with self._lock:
            if self._closed:
                raise NoReplicaError("is not one of the servers any more", self.target)
            self._under_way += 1

    def _end(self) -> None:
        with self._lock:
            self._under_way -= 1
            is_over = self._retired and self._under_way == 0
            self._closed |= is_over
        if is_over:
            self.close()

    def _watch(self) -> None:
        """Follow the server's health for as long as it is one of the servers."""
        stub: Any = health_pb2_grpc.HealthStub(self._channel)
        wanted = health_pb2.HealthCheckRequest(service=_SERVICE)
        while not self._closing.is_set():
            try:
                for answer in stub.Watch(wanted, wait_for_ready=True):
                    self._note(serving=answer.status == health_pb2.HealthCheckResponse.SERVING)
            except grpc.RpcError as error:
                call: Any = error
                if call.code() is grpc.StatusCode.UNIMPLEMENTED:
                    self._note(serving=True)  # what cannot be asked is tried
                    return
            except ValueError:  # gRPC's word for a channel that was closed
                return
            self._note(serving=False)
            self._closing.wait(_WATCH_AGAIN_S)

    def _note(self, *, serving: bool) -> None:
        self._is_serving = serving
        self._has_failed = not serving
        if serving:
            self._benched_until_s = None


def _channel(target: str, root_certificates: bytes | None) -> grpc.Channel:
    if root_certificates is None:
        return grpc.insecure_channel(target, _OPTIONS)
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(root_certificates), _OPTIONS)
