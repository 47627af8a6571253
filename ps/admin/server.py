"""The gRPC server of a job's admin service: on loopback, or with a token and TLS."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from ps import admin_pb2 as pb
from ps import admin_pb2_grpc as pb_grpc
from ps.addresses import is_loopback, joined
from ps.admin.errors import AdminStartError
from ps.admin.service import AdminService
from ps.admin.target import AdminSettings
from ps.errors import SpecError
from ps.health import Health

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from ps.admin.target import AdminTarget

SERVICE = pb.DESCRIPTOR.services_by_name["Admin"].full_name

# One for the operation under way, the others for those who look on.
_THREADS = 4
_MOST_CALLS = 64
_LONGEST_REQUEST_BYTES = 1 << 20

# How long a stop waits for calls under way.
_GRACE_S = 1.0


class AdminServer:
    """A job's admin service in this process. Starting and stopping it is one thread's business."""

    def __init__(self, target: AdminTarget, settings: AdminSettings | None = None) -> None:
        """Raises SpecError for settings that would let anybody in."""
        self.settings = settings or AdminSettings()
        check_settings(self.settings)
        self._port: int | None = None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="admin")
        self._server = grpc.server(
            self._threads,
            options=[
                ("grpc.max_receive_message_length", _LONGEST_REQUEST_BYTES),
                # Else a second job on the same port would share its calls, unnoticed.
                ("grpc.so_reuseport", 0),
            ],
            maximum_concurrent_rpcs=_MOST_CALLS,
        )
        pb_grpc.add_AdminServicer_to_server(AdminService(target, self.settings.token), self._server)
        self._health = Health(("", SERVICE))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

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
    def port(self) -> int:
        """The port it listens on. Raises AdminStartError before start."""
        if self._port is None:
            raise AdminStartError("the admin service was not started; call start() first")
        return self._port

    @property
    def address(self) -> str:
        """host:port for ps-admin: of this machine's name, where it listens on all its addresses."""
        host = self.settings.host
        if host in ("0.0.0.0", "::"):  # noqa: S104  # compared, not bound
            host = socket.gethostname()
        return joined(host, self.port)

    def start(self) -> None:
        """Listen. Raises AdminStartError where the address or the certificate cannot be had."""
        address = joined(self.settings.host, self.settings.port)
        try:
            self._port = self._listen(address)
        except (RuntimeError, ValueError) as error:
            raise AdminStartError(
                f"the admin service cannot listen on {address}: {error}; give it another port, or "
                "0 for any that is free"
            ) from error
        self._server.start()
        self._health.announce(serving=True)

    def stop(self, grace_s: float = _GRACE_S) -> None:
        """Refuse new calls, give those under way grace_s. May be called again, or before start."""
        self._health.end()
        self._server.stop(grace_s).wait(grace_s + 1.0)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _listen(self, address: str) -> int:
        settings = self.settings
        if settings.tls_cert is None or settings.tls_key is None:
            return self._server.add_insecure_port(address)
        credentials = grpc.ssl_server_credentials([(settings.tls_key, settings.tls_cert)])
        return self._server.add_secure_port(address, credentials)


def check_settings(settings: AdminSettings) -> None:
    """Raise SpecError, saying what to set, where a stranger could operate the job."""
    if not settings.host:
        raise SpecError("the admin service's host is empty; set 127.0.0.1 to be reached from here")
    if not 0 <= settings.port <= 65_535:
        raise SpecError(f"the admin service's port is {settings.port}; set 0 (any free) to 65535")
    if settings.token is not None and not (
        settings.token.isascii() and settings.token.isprintable()
    ):
        raise SpecError("the admin service's token must be printable ASCII, to fit into a header")
    if settings.token is not None and not settings.token.strip():
        raise SpecError("the admin service's token is empty; set one, or leave it out")
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise SpecError("TLS of the admin service needs both a certificate and its key")
    if is_loopback(settings.host):
        return
    missing = [
        what
        for what, value in (
            ("a token", settings.token),
            ("a TLS certificate with its key", settings.tls_cert),
        )
        if value is None
    ]
    if missing:
        raise SpecError(
            f"the admin service can roll the job back, so on {settings.host}, which other machines "
            f"reach, it needs a token and TLS; set {' and '.join(missing)}, or listen on 127.0.0.1"
        )
