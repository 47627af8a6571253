"""The standard gRPC health service: whether a server's services serve, told to all who watch it.

Not grpc_health's own servicer: it sends under the lock that the end of any watch takes too, in the one
thread in which gRPC tells of sends that are done. So a client that left while another came stopped the
whole server for good, within a second of a few clients coming and going (seen with 1.81; its authors
are at these locks in https://github.com/grpc/grpc/pull/43403). Here nothing is sent under a lock that
an end takes.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Send = Callable[[health_pb2.HealthCheckResponse | None], None]

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class _Watch:
    """One caller who is told of changes, one at a time, and of nothing after the end."""

    def __init__(self, service: str, send: Send) -> None:
        self.service = service
        self._send = send
        self._sending = threading.Lock()
        self._told: int | None = None
        self._has_ended = False

    def tell(self, status_of: Callable[[str], int]) -> None:
        """Send the status as it is once those before have been sent, unless it was sent already."""
        with self._sending:
            status = status_of(self.service)
            if not self._has_ended and status != self._told:
                self._told = status
                self._send(health_pb2.HealthCheckResponse(status=status))

    def end(self) -> None:
        """End the call."""
        with self._sending:
            if not self._has_ended:
                self._has_ended = True
                self._send(None)


class Health(health_pb2_grpc.HealthServicer):
    """Says of the given services whether they serve; not, at first. Safe to use from several threads.

    Watching blocks no thread, else every watcher would hold one of those that answer calls.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset(services)
        self._changing = threading.Lock()
        self._watches: set[_Watch] = set()
        self._is_serving = False
        self._has_ended = False

    def Check(  # noqa: N802  # the name gRPC gives it
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        """Whether a service serves now; NOT_FOUND where there is none of that name."""
        status = self._status_of(request.service)
        if status == _UNKNOWN:
            context.abort(
                grpc.StatusCode.NOT_FOUND, f"there is no service {request.service!r} here"
            )
        return health_pb2.HealthCheckResponse(status=status)

    def Watch(  # type: ignore[override]  # noqa: N802  # gRPC passes the callback, see below
        self,
        request: health_pb2.HealthCheckRequest,
        context: grpc.ServicerContext,
        send_response_callback: Send,
    ) -> None:
        """Tell of the status now, and of changes until the caller hangs up or `end`."""
        watch = _Watch(request.service, send_response_callback)
        with self._changing:
            self._watches.add(watch)
            has_ended = self._has_ended
        if not context.add_callback(lambda: self._forget(watch)):
            self._forget(watch)  # it has hung up already
            return
        watch.tell(self._status_of)
        if has_ended:
            watch.end()

    # gRPC passes send_response_callback, and returns from Watch with the call going on.
    Watch.experimental_non_blocking = True  # type: ignore[attr-defined]

    def announce(self, *, serving: bool) -> None:
        """Say whether all services serve. Says nothing after `end`."""
        with self._changing:
            if self._has_ended:
                return
            self._is_serving = serving
            watches = tuple(self._watches)
        for watch in watches:
            watch.tell(self._status_of)

    def end(self) -> None:
        """Say for the last time that nothing serves, and end all watches: a stop waits for calls."""
        with self._changing:
            self._has_ended = True
            self._is_serving = False
            watches = tuple(self._watches)
        for watch in watches:
            watch.tell(self._status_of)
            watch.end()

    def _status_of(self, service: str) -> int:
        if service not in self._services:
            return _UNKNOWN
        return _SERVING if self._is_serving else _NOT_SERVING

    def _forget(self, watch: _Watch) -> None:
        with self._changing:
            self._watches.discard(watch)
