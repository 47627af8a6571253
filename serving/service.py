"""The Predict service: requests in, answers or named errors out, never a crash."""

from __future__ import annotations

import logging
import threading
import uuid
from typing import TYPE_CHECKING, NoReturn, TypeVar

import grpc

from serving import predict_pb2 as pb
from serving import predict_pb2_grpc as pb_grpc
from serving.errors import BadRequestError, NotReadyError, ServingError, WrongModelError
from serving.messages import feature_message, response_of, version_message
from serving.query import QueryRules, read_query

if TYPE_CHECKING:
    from collections.abc import Callable

    from ps.clock import Clock
    from serving.metrics import ServingMetrics
    from serving.predictor import Predictor

logger = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")

# What a refusal of ours means to a client.
_CODES: tuple[tuple[type[ServingError], grpc.StatusCode], ...] = (
    (WrongModelError, grpc.StatusCode.NOT_FOUND),
    (BadRequestError, grpc.StatusCode.INVALID_ARGUMENT),
    (NotReadyError, grpc.StatusCode.UNAVAILABLE),
)

# A message travels in a header, and those are limited to 8 KiB in all.
_LONGEST_MESSAGE = 1_000

# A caller that set no deadline gets this one for its turn.
_LONGEST_WAIT_S = 60.0


class _DeadlineError(Exception):
    """The caller has gone, or will have before an answer could reach it."""


class PredictService(pb_grpc.PredictServicer):
    """Answers with what the predictor says; called by any number of threads."""

    def __init__(
        self,
        predictor: Predictor,
        metrics: ServingMetrics,
        clock: Clock,
        max_candidates: int,
        parallel_predictions: int = 1,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        """new_id: makes the ids under which faults are logged."""
        self._predictor = predictor
        self._metrics = metrics
        self._clock = clock
        self._rules = QueryRules(predictor.fields, max_candidates)
        self._new_id = new_id
        # Threads that compute at once hand the interpreter's lock to and fro at every kernel; one
        # after the other they answer sooner.
        self._computing = threading.BoundedSemaphore(parallel_predictions)

    def Predict(  # noqa: N802  # the name gRPC gives it
        self, request: pb.PredictRequest, context: grpc.ServicerContext
    ) -> pb.PredictResponse:
        """The probability of each candidate."""
        return self._answer("Predict", lambda: self._predict(request, context), context)

    def GetModel(  # noqa: N802  # the name gRPC gives it
        self, request: pb.GetModelRequest, context: grpc.ServicerContext
    ) -> pb.GetModelResponse:
        """What is served."""
        return self._answer("GetModel", lambda: self._describe(request), context)

    def _predict(
        self, request: pb.PredictRequest, context: grpc.ServicerContext
    ) -> pb.PredictResponse:
        _check_deadline(context)
        self._check_model(request.model)
        if not self._computing.acquire(timeout=_time_left_s(context)):
            raise _DeadlineError
        try:
            _check_deadline(context)
            query = read_query(request, self._rules, self._clock.now_us())
            prediction = self._predictor.predict(query)
        finally:
            self._computing.release()
        self._metrics.observe_prediction(query.size, prediction.unknown_fids)
        return response_of(prediction, request.request_id)

    def _describe(self, request: pb.GetModelRequest) -> pb.GetModelResponse:
        self._check_model(request.model)
        status = self._predictor.replica.status()
        return pb.GetModelResponse(
            name=self._predictor.name,
            version=version_message(status.version),
            staleness_s=status.staleness_s or 0.0,
            ready=status.ready,
            rows=status.rows,
            max_candidates=self._rules.max_candidates,
            features=[feature_message(field) for field in self._rules.fields.values()],
        )

    def _check_model(self, asked: str) -> None:
        served = self._predictor.name
        if asked and asked != served:
            raise WrongModelError(asked, served)

    def _answer(
        self, method: str, work: Callable[[], _Answer], context: grpc.ServicerContext
    ) -> _Answer:
        """Do the work; count it; turn any error into a status."""
        began = self._clock.monotonic_s()
        code, message = grpc.StatusCode.OK, ""
        try:
            return work()
        except _DeadlineError:
            code, message = grpc.StatusCode.DEADLINE_EXCEEDED, "no time was left for the answer"
        except Exception as error:
            code = next(
                (c for kind, c in _CODES if isinstance(error, kind)), grpc.StatusCode.INTERNAL
            )
            message = str(error)
            if code is grpc.StatusCode.INTERNAL:
                incident = self._new_id()
                logger.exception("%s failed, incident %s", method, incident)
                message = f"the server failed; its log has the details under {incident}"
        finally:
            self._metrics.observe_call(method, code.name, self._clock.monotonic_s() - began)
        return _abort(context, code, message)


def _check_deadline(context: grpc.ServicerContext) -> None:
    """Raise where the caller has cancelled or its deadline has passed: the work would be in vain."""
    if not context.is_active():
        raise _DeadlineError


def _time_left_s(context: grpc.ServicerContext) -> float:
    """How long a call may wait for its turn."""
    left: float | None = context.time_remaining()
    return _LONGEST_WAIT_S if left is None else min(max(left, 0.0), _LONGEST_WAIT_S)


def _abort(context: grpc.ServicerContext, code: grpc.StatusCode, message: str) -> NoReturn:
    if len(message) > _LONGEST_MESSAGE:
        message = f"{message[:_LONGEST_MESSAGE]}..."
    context.abort(code, message)
    raise AssertionError("abort raises")
