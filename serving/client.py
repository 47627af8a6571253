"""The client: one or more Predict servers behind two calls."""

from __future__ import annotations

import json
import random
import threading
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from ps.clock import SystemClock
from serving import predict_pb2 as pb
from serving import predict_pb2_grpc as pb_grpc
from serving.errors import (
    ConfigError,
    NoReplicaError,
    PredictError,
    PredictTimeoutError,
    RequestRefusedError,
    ServerFaultError,
    TooLargeError,
)
from serving.messages import prediction_of
from serving.requests import named_request, packed_request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from ps.clock import Clock
    from serving.prediction import Prediction
    from serving.requests import FeatureColumn, FeatureValue

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")

_SERVICE = pb.DESCRIPTOR.services_by_name["Predict"].full_name

# gRPC itself watches the health of each server, and fails calls to one that is not serving at once.
# The policy has one address to choose from; health checking comes with it and not with pick_first.
_SERVICE_CONFIG = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": _SERVICE},
    }
)

_ERRORS: dict[grpc.StatusCode, type[PredictError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: RequestRefusedError,
    grpc.StatusCode.NOT_FOUND: RequestRefusedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: TooLargeError,
    grpc.StatusCode.UNAVAILABLE: NoReplicaError,
    grpc.StatusCode.DEADLINE_EXCEEDED: PredictTimeoutError,
    grpc.StatusCode.INTERNAL: ServerFaultError,
}


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """After every server was tried in vain: rounds in all, and the wait between them.

    The wait is drawn evenly from 0 to a bound that starts at first_s and doubles up to max_s.
    """

    rounds: int = 3
    first_s: float = 0.02
    max_s: float = 0.5

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ConfigError(f"rounds is {self.rounds}; it must be at least 1")

    def bound_s(self, rounds: int) -> float:
        """The longest wait after a number of rounds, from 1."""
        return float(min(self.max_s, self.first_s * 2 ** min(rounds - 1, 20)))


class PredictClient:
    """Asks servers in turn, passes over those that cannot answer, and says what went wrong.

    May be used from any number of threads. Close it, or use it as a context manager.
    """

    def __init__(
        self,
        targets: str | Sequence[str],
        *,
        timeout_s: float = 2.0,
        retry: RetrySettings | None = None,
        root_certificates: bytes | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """targets: host:port, one or more. timeout_s: for a call with all its retries.

        root_certificates: PEM, for servers with TLS; None means plain text. rng: draws the waits.
        Raises ConfigError without targets.
        """
        self._targets = (targets,) if isinstance(targets, str) else tuple(targets)
        if not self._targets:
            raise ConfigError("no targets; give the host:port of at least one server")
        self._timeout_s = timeout_s
        self._retry = retry or RetrySettings()
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()  # noqa: S311  # jitter, not a secret
        self._closed = threading.Event()
        self._turn = count()
        self._channels = [_channel(target, root_certificates) for target in self._targets]
        self._stubs = [pb_grpc.PredictStub(channel) for channel in self._channels]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all connections; calls under way fail."""
        self._closed.set()
        for channel in self._channels:
            channel.close()

    def predict(
        self,
        context: Mapping[str, FeatureValue],
        candidates: Sequence[Mapping[str, FeatureValue]],
        *,
        model: str = "",
        event_ts_us: int | None = None,
        request_id: str = "",
        ignore_unknown_features: bool = False,
        timeout_s: float | None = None,
    ) -> Prediction:
        """The probability of each candidate, features by name; None leaves one out.

        Raises FeatureValueError for a value no request can carry; RequestRefusedError, TooLargeError,
        NoReplicaError, PredictTimeoutError, ServerFaultError, or PredictError for anything else.
        """
        request = named_request(context, candidates)
        request.ignore_unknown_features = ignore_unknown_features
        return self._predict(request, model, event_ts_us, request_id, timeout_s)

    def predict_packed(
        self,
        context: Mapping[str, FeatureValue],
        candidates: Mapping[str, FeatureColumn],
        *,
        model: str = "",
        event_ts_us: int | None = None,
        request_id: str = "",
        ignore_unknown_features: bool = False,
        timeout_s: float | None = None,
    ) -> Prediction:
        """The same from columns: candidates maps each feature to its n values. Raises as predict does."""
        request = packed_request(context, candidates)
        request.ignore_unknown_features = ignore_unknown_features
        return self._predict(request, model, event_ts_us, request_id, timeout_s)

    def get_model(self, model: str = "", *, timeout_s: float | None = None) -> pb.GetModelResponse:
        """What one of the servers serves. Raises as predict does, but for FeatureValueError."""
        calls = [stub.GetModel for stub in self._stubs]
        return self._call(calls, pb.GetModelRequest(model=model), timeout_s)

    def _predict(
        self,
        request: pb.PredictRequest,
        model: str,
        event_ts_us: int | None,
        request_id: str,
        timeout_s: float | None,
    ) -> Prediction:
        request.model = model
        request.request_id = request_id
        if event_ts_us is not None:
            request.event_ts_us = event_ts_us
        calls = [stub.Predict for stub in self._stubs]
        return prediction_of(self._call(calls, request, timeout_s))

    def _call(
        self,
        calls: Sequence[grpc.UnaryUnaryMultiCallable[_Request, _Response]],
        request: _Request,
        timeout_s: float | None,
    ) -> _Response:
        """Ask the servers in turn until one answers, a fault is not the server's, or time is out."""
        deadline = self._clock.monotonic_s() + (timeout_s or self._timeout_s)
        first = next(self._turn)
        rounds = 0
        while True:
            for i in range(len(calls)):
                at = (first + i) % len(calls)
                left = deadline - self._clock.monotonic_s()
                try:
                    return calls[at](request, timeout=max(left, 0.0))
                except grpc.RpcError as error:
                    failure = _named(error, self._targets[at])
                if not isinstance(failure, NoReplicaError):
                    raise failure
            rounds += 1
            wait_s = self._rng.uniform(0.0, self._retry.bound_s(rounds))
            left = deadline - self._clock.monotonic_s()
            if rounds >= self._retry.rounds or wait_s >= left or self._closed.wait(wait_s):
                raise failure


def _channel(target: str, root_certificates: bytes | None) -> grpc.Channel:
    options = [
        ("grpc.service_config", _SERVICE_CONFIG),
        # A server that comes back is found within this time.
        ("grpc.max_reconnect_backoff_ms", 1_000),
    ]
    if root_certificates is None:
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(root_certificates), options)


def _named(error: grpc.RpcError, target: str) -> PredictError:
    """The error of ours that says what a gRPC error means."""
    # Every error of a call is a grpc.Call as well, which its type cannot say.
    call: Any = error
    code: grpc.StatusCode = call.code()
    return _ERRORS.get(code, PredictError)(f"{code.name}: {call.details()}", target)
