"""The standard health service, which also lets go of its watchers at the end."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from grpc_health.v1 import health, health_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc

    Send = Callable[[health_pb2.HealthCheckResponse | None], None]

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health(health.HealthServicer):
    """Says of the given services whether they serve; not, at first.

    Watching blocks no thread, else every watcher would hold one of those that predict. (A thread pool
    of its own must not be given: the library would use it for all servers of the process.)
    """

    def __init__(self, services: tuple[str, ...]) -> None:
        super().__init__(experimental_non_blocking=True)
        self._services = services
        self._watches: set[Send] = set()
        self._watches_lock = threading.Lock()
        self._ended = False
        self.announce(serving=False)

    def Watch(  # noqa: N802  # the name gRPC gives it
        self,
        request: health_pb2.HealthCheckRequest,
        context: grpc.ServicerContext,
        send_response_callback: Any = None,
    ) -> Any:
        """Tell of changes until the caller hangs up or `end`."""
        watching = super().Watch(request, context, send_response_callback)
        if send_response_callback is not None:
            with self._watches_lock:
                self._watches.add(send_response_callback)
                ended = self._ended
            context.add_callback(lambda: self._forget(send_response_callback))
            if ended:
                send_response_callback(None)
        return watching

    def announce(self, *, serving: bool) -> None:
        """Say whether all services serve. Says nothing after `end`."""
        for name in self._services:
            self.set(name, _SERVING if serving else _NOT_SERVING)

    def end(self) -> None:
        """Say for the last time that nothing serves, and end all watches: a stop waits for calls."""
        self.enter_graceful_shutdown()
        with self._watches_lock:
            self._ended = True
            watches = tuple(self._watches)
        for send in watches:
            send(None)

    def _forget(self, send: Send) -> None:
        with self._watches_lock:
            self._watches.discard(send)
