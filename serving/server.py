"""The gRPC server: the Predict service with health, reflection, metrics, and an orderly end."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import start_http_server

from ps.health import Health
from serving import predict_pb2 as pb
from serving import predict_pb2_grpc as pb_grpc
from serving.config import ServingConfig
from serving.errors import ServerStartError
from serving.metrics import ServingMetrics
from serving.service import PredictService

if TYPE_CHECKING:
    from threading import Thread
    from types import TracebackType
    from typing import Self
    from wsgiref.simple_server import WSGIServer

    from ps.clock import Clock
    from serving.predictor import Predictor

logger = logging.getLogger(__name__)

SERVICE = pb.DESCRIPTOR.services_by_name["Predict"].full_name


def start_near(predictor: Predictor, clock: Clock, config: ServingConfig) -> PredictServer:
    """A started server on the port of its settings, or on any where another process has that one.

    Raises ServerStartError.
    """
    server = PredictServer(predictor, clock, config)
    try:
        server.start()
    except ServerStartError as error:
        server.stop(0)
        if not config.port and not config.metrics_port:
            raise
        logger.warning("%s; taking any free port instead", error)
        metrics_port = None if config.metrics_port is None else 0
        server = PredictServer(predictor, clock, replace(config, port=0, metrics_port=metrics_port))
        server.start()
    return server


class PredictServer:
    """A Predict server in this process; healthy once its replica is ready.

    Starting and stopping it is one thread's business.
    """

    def __init__(
        self, predictor: Predictor, clock: Clock, config: ServingConfig | None = None
    ) -> None:
        self.config = config or ServingConfig()
        self.metrics = ServingMetrics(predictor.replica)
        self._predictor = predictor
        self._stopping = False
        self._port: int | None = None
        self._exporter: tuple[WSGIServer, Thread] | None = None
        self._threads = ThreadPoolExecutor(self.config.threads, thread_name_prefix="predict")
        self._server = grpc.server(
            self._threads,
            options=[
                ("grpc.max_receive_message_length", self.config.max_message_bytes),
                # Else a second server on the same port would share its calls, unnoticed.
                ("grpc.so_reuseport", 0),
                # Clients ask every few seconds whether this machine is still there.
                ("grpc.http2.min_ping_interval_without_data_ms", 500),
                ("grpc.http2.max_ping_strikes", 0),
            ],
            maximum_concurrent_rpcs=self.config.max_concurrent_requests,
        )
        service = PredictService(
            predictor,
            self.metrics,
            clock,
            self.config.max_candidates,
            self.config.parallel_predictions,
        )
        pb_grpc.add_PredictServicer_to_server(service, self._server)
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
        """The port it listens on. Raises ServerStartError before start."""
        if self._port is None:
            raise ServerStartError("the server was not started; call start() first")
        return self._port

    @property
    def target(self) -> str:
        """host:port, for a client on this machine."""
        return f"{self.config.host}:{self.port}"

    @property
    def metrics_port(self) -> int | None:
        """The port of the metrics page, None where there is none."""
        return None if self._exporter is None else self._exporter[0].server_port

    def start(self) -> None:
        """Listen. Raises ServerStartError where the address or the certificate cannot be had."""
        self._port = self._listen()
        if self.config.metrics_port is not None:
            self._exporter = self._export_metrics(self.config.metrics_port)
        self._server.start()
        self._predictor.replica.when_ready(self._open)

    def withdraw(self) -> None:
        """Say NOT_SERVING from now on, and go on answering: clients turn to other servers meanwhile."""
        self._stopping = True
        self._health.announce(serving=False)

    def stop(self, grace_s: float | None = None) -> bool:
        """Refuse new calls, finish those under way; whether all were within grace_s.

        Health says NOT_SERVING at once. grace_s None takes the configured one. May be called again.
        """
        grace_s = self.config.grace_s if grace_s is None else grace_s
        self._stopping = True
        self._health.end()
        stopped = self._server.stop(grace_s)
        finished = stopped.wait(grace_s)
        if not finished:
            # gRPC cancels what is left at the end of the grace; that takes it a moment.
            stopped.wait(1.0)
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._exporter is not None:
            exporter, thread = self._exporter
            self._exporter = None
            exporter.shutdown()
            exporter.server_close()
            thread.join(grace_s + 1.0)
        return finished

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the server has stopped; False where the time ran out first."""
        return not self._server.wait_for_termination(timeout_s)

    def _open(self) -> None:
        """Called when the replica is ready: try the model out, then let the world know."""
        if self._stopping:
            return
        try:
            self._predictor.rehearse()
        except Exception:
            logger.exception("the model of %s cannot predict; not serving", self.target)
            return
        self._health.announce(serving=True)

    def _listen(self) -> int:
        config = self.config
        address = f"{config.host}:{config.port}"
        try:
            if config.cert_file is None or config.key_file is None:
                return self._server.add_insecure_port(address)
            pair = (config.key_file.read_bytes(), config.cert_file.read_bytes())
            return self._server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
        except (RuntimeError, OSError) as error:
            raise ServerStartError(f"cannot listen on {address}: {error}") from error

    def _export_metrics(self, port: int) -> tuple[WSGIServer, Thread]:
        try:
            return start_http_server(port, self.config.metrics_host, self.metrics.registry)
        except OSError as error:
            address = f"{self.config.metrics_host}:{port}"
            raise ServerStartError(f"cannot serve metrics on {address}: {error}") from error
