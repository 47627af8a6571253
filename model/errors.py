"""The tree of errors of features and models."""

from __future__ import annotations


class ModelError(Exception):
    """Anything features or models refuse."""


class FeatureError(ModelError):
    """A feature specification or a column that cannot be used; names the feature."""

    def __init__(self, feature: str, reason: str) -> None:
        self.feature = feature
        self.reason = reason
        super().__init__(f"feature {feature!r}: {reason}")
