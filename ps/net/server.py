"""The gRPC server of a shard's data, in the process that holds the shard."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc

from ps.addresses import joined
from ps.errors import SpecError
from ps.net.allocator import keep_freed_memory
from ps.net.connection import SERVER_OPTIONS
from ps.net.service import DataService

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from ps.net.data import ShardData

# Each worker's stream of pushes holds one, and each reader that waits for a block. They are started
# as they are needed.
_MOST_THREADS = 512

# How long a stop waits for calls under way.
_GRACE_S = 0.5


class ShardServer:
    """A shard's data service. Starting and stopping it is one thread's business."""

    def __init__(
        self, data: ShardData, *, token: str, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        """token: every call must carry it. port: 0: any that is free. Raises SpecError."""
        if not token or not (token.isascii() and token.isprintable()):
            raise SpecError(
                "the data service's token must be printable ASCII, to fit into a header"
            )
        self._host = host
        self._asked_port = port
        self._port: int | None = None
        self._threads = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="data")
        self._server = grpc.server(self._threads, options=SERVER_OPTIONS)
        self._server.add_generic_rpc_handlers((DataService(data, token).handlers(),))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """host:port for RemoteShard; of this machine's name, where it listens on all its addresses."""
        if self._port is None:
            raise SpecError("the data service was not started; call start() first")
        host = self._host
        if host in ("0.0.0.0", "::"):  # noqa: S104  # compared, not bound
            host = socket.gethostname()
        return joined(host, self._port)

    def start(self) -> None:
        """Listen, in a process that keeps freed memory from now on (ps.net.allocator).

        Raises SpecError where the address cannot be had.
        """
        keep_freed_memory()
        address = joined(self._host, self._asked_port)
        try:
            self._port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise SpecError(
                f"the data service cannot listen on {address}: {error}; give it another port, or 0 "
                "for any that is free"
            ) from error
        self._server.start()

    def stop(self, grace_s: float = _GRACE_S) -> None:
        """Refuse new calls, give those under way grace_s. May be called again, or before start.

        A process that does not stop its server does not end.
        """
        self._server.stop(grace_s).wait(grace_s + 1.0)
        self._threads.shutdown(wait=False, cancel_futures=True)
