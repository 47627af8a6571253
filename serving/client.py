"""The client: any number of Predict servers behind two calls."""

from __future__ import annotations

import queue
import random
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from ps.clock import SystemClock
from serving import predict_pb2 as pb
from serving.errors import ConfigError, NoReplicaError, PredictError, PredictTimeoutError
from serving.messages import prediction_of
from serving.requests import named_request, packed_request
from serving.roster import Roster
from serving.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from ps.clock import Clock
    from serving.prediction import Prediction
    from serving.requests import FeatureColumn, FeatureValue

# A server that was never reached yet may take up so much of a call while there are others: a machine
# that is gone answers nothing at all.
_REACHING_S = 1.0


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """After every server was tried in vain: rounds in all, and the wait between them.

    The wait is drawn evenly from 0 to a bound that starts at first_s and doubles up to max_s.
    """

    rounds: int = 8
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

    The health of every server is watched: one that is down, or not serving, costs a call nothing.
    One that is lost in the middle of a call costs asking another one. May be used from any number of
    threads. Close it, or use it as a context manager.
    """

    def __init__(
        self,
        targets: str | Sequence[str] | Callable[[], Sequence[str]],
        *,
        timeout_s: float = 2.0,
        retry: RetrySettings | None = None,
        hedge_after_s: float | None = None,
        refresh_s: float = 2.0,
        root_certificates: bytes | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """targets: host:port, one or more; or a function that gives those there are now
        (serving.targets.from_admin), which is asked again every refresh_s, and at once where every
        server has failed. timeout_s: for a call with all its retries.

        hedge_after_s: a server that has not answered after this is left to it, and another one asked
        as well; None: never. root_certificates: PEM, for servers with TLS; None means plain text.
        rng: draws the waits. Raises ConfigError without targets.
        """
        self._timeout_s = timeout_s
        self._retry = retry or RetrySettings()
        self._hedge_after_s = hedge_after_s
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()  # noqa: S311  # jitter, not a secret
        self._closed = threading.Event()
        self._roster = Roster(
            targets,
            lambda target: Upstream(target, root_certificates, self._clock),
            refresh_s,
        )

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
        self._roster.close()

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
        answer: pb.GetModelResponse = self._call(
            "GetModel", pb.GetModelRequest(model=model), timeout_s
        )
        return answer

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
        return prediction_of(self._call("Predict", request, timeout_s))

    def _call(self, method: str, request: object, timeout_s: float | None) -> Any:
        """Ask the servers in turn until one answers, a fault is not the server's, or time is out."""
        deadline_s = self._clock.monotonic_s() + (timeout_s or self._timeout_s)
        rounds = 0
        while True:
            failure: PredictError = self._nobody()
            servers = self._roster.in_turn()
            for server in servers:
                try:
                    return self._ask(server, servers, method, request, deadline_s)
                except NoReplicaError as error:
                    failure = error
                except PredictTimeoutError as error:
                    failure = error
                    if self._left_s(deadline_s) <= 0.0:
                        raise
            rounds += 1
            self._roster.refresh(self._left_s(deadline_s))
            wait_s = self._rng.uniform(0.0, self._retry.bound_s(rounds))
            is_last = rounds >= self._retry.rounds or wait_s >= self._left_s(deadline_s)
            if is_last or self._closed.wait(wait_s):
                raise failure

    def _ask(
        self,
        server: Upstream,
        others: Iterator[Upstream],
        method: str,
        request: object,
        deadline_s: float,
    ) -> Any:
        """One server's answer; or, where it takes too long, that of the first of the others."""
        left_s = self._left_s(deadline_s)
        if not server.is_connected and len(self._roster) > 1:
            left_s = min(left_s, max(left_s / 2, 0.01), _REACHING_S)
        if self._hedge_after_s is None:
            return server.ask(method, request, left_s)
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        asked = {server.ask_soon(method, request, left_s): server}
        for call in asked:
            call.add_done_callback(done.put)
        failure: PredictError | None = None
        wait_s = min(self._hedge_after_s, left_s)
        while asked:
            try:
                call = done.get(timeout=max(wait_s, 0.0))
            except queue.Empty:
                wait_s = left_s + 1.0  # gRPC ends every call at its deadline
                other = next(others, None)
                with suppress(NoReplicaError):
                    if other is not None:
                        hedge = other.ask_soon(method, request, self._left_s(deadline_s))
                        asked[hedge] = other
                        hedge.add_done_callback(done.put)
                continue
            by = asked.pop(call)
            try:
                answer = call.result()
            except grpc.FutureCancelledError:
                failure = NoReplicaError("the client was closed", by.target)
            except grpc.RpcError as error:
                failure = by.named(error)
                if not isinstance(failure, NoReplicaError | PredictTimeoutError):
                    break
            else:
                for slow in asked:
                    slow.cancel()
                return answer
        for call in asked:
            call.cancel()
        raise failure or PredictTimeoutError("no answer within the deadline", server.target)

    def _left_s(self, deadline_s: float) -> float:
        return max(deadline_s - self._clock.monotonic_s(), 0.0)

    def _nobody(self) -> PredictError:
        why = self._roster.fault
        return NoReplicaError(
            "no server is known" + ("; none is ready" if why is None else f": {why}")
        )
