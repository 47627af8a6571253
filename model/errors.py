"""The tree of errors of features and models."""

from __future__ import annotations

from ps.errors import PortableError


class ModelError(PortableError):
    """Anything features or models refuse."""


class FeatureError(ModelError):
    """A feature specification or a column that cannot be used; names the feature."""

    def __init__(self, feature: str, reason: str) -> None:
        self.feature = feature
        self.reason = reason
        super().__init__(f"feature {feature!r}: {reason}")


class UnknownModelError(ModelError):
    """A model kind that is not built in."""

    def __init__(self, kind: str, known: list[str]) -> None:
        self.kind = kind
        self.known = known
        super().__init__(f"no model {kind!r}; there are {', '.join(known)}")


class ModelOptionsError(ModelError):
    """Options that a model does not have, or cannot work with."""

    def __init__(self, kind: str, problems: list[str]) -> None:
        self.kind = kind
        self.problems = problems
        super().__init__(f"model {kind!r}: {'; '.join(problems)}")


class BackwardBeforeForwardError(ModelError):
    """backward was called without a forward before it, or twice after one."""

    def __init__(self) -> None:
        super().__init__("backward belongs to one forward; call forward with the batch first")


class MissingExtraError(ModelError):
    """An optional library that was asked for is not installed."""

    def __init__(self, extra: str, what: str) -> None:
        self.extra = extra
        super().__init__(f"{what} needs an extra: pip install 'trilith[{extra}]'")
