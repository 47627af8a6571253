"""The tree of errors of serving; each carries its facts and says what to do."""

from __future__ import annotations

from ps.errors import PortableError


class ServingError(PortableError):
    """Anything serving refuses or fails to do."""


class ConfigError(ServingError):
    """A setting that cannot work; the message says what to change."""


class ServerStartError(ServingError):
    """The server could not take its address or its certificate; nothing is listening."""


class BadRequestError(ServingError):
    """A request that cannot be answered as it stands; the message says what is allowed."""


class FeatureValueError(BadRequestError):
    """A feature of a request is unknown, missing or of the wrong type; names it and the candidate.

    candidate: the index within the request; None for the context, or for the feature as a whole.
    """

    def __init__(self, feature: str, reason: str, candidate: int | None = None) -> None:
        self.feature = feature
        self.reason = reason
        self.candidate = candidate
        where = "" if candidate is None else f", candidate {candidate}"
        super().__init__(f"feature {feature!r}{where}: {reason}")


class NotReadyError(ServingError):
    """The replica has no whole model yet; wait for it, or ask another replica."""


class WrongModelError(ServingError):
    """A request for a model that this server does not serve."""

    def __init__(self, asked: str, served: str) -> None:
        self.asked = asked
        self.served = served
        super().__init__(f"no model {asked!r} here; this server serves {served!r}")


class PredictError(ServingError):
    """A call of the client that brought no answer. target: the server that was asked last."""

    def __init__(self, reason: str, target: str | None = None) -> None:
        self.target = target
        super().__init__(reason if target is None else f"{target}: {reason}")


class RequestRefusedError(PredictError):
    """The server finds the request wrong; correct what the message names, do not send it again."""


class TooLargeError(PredictError):
    """The request exceeds the server's limit, or the server is full: split it, or send it later."""


class NoReplicaError(PredictError):
    """No server could be reached that has a model; see that one runs and is ready, then try again."""


class PredictTimeoutError(PredictError):
    """No answer within the deadline; allow more time, or send fewer candidates at once."""


class ServerFaultError(PredictError):
    """The server failed; its log has the details under the id in the message."""
