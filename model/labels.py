"""Labels: what a column says happened, as 0 or 1."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from model.arrow import plain, trimmed
from model.errors import FeatureError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from model.features.rows import Rows
    from ps.arrays import F32, Bool

_RULE = re.compile(r"\s*(>=|<=|==|!=|>|<)\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*")
_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType(
    {
        ">=": operator.ge,
        "<=": operator.le,
        "==": operator.eq,
        "!=": operator.ne,
        ">": operator.gt,
        "<": operator.lt,
    }
)
_FEATURE = "label"


@dataclass(frozen=True, slots=True)
class LabelSpec:
    """Where the label is, and which values are positive.

    positive_if: None takes 0 and 1 (also 0.0 and 1.0) and true and false, in any case; otherwise a
    rule such as ">= 4" (one of >= <= == != > < and a number) on a column of numbers.
    Raises FeatureError for a rule it cannot read.
    """

    column: str
    positive_if: str | None = None

    def __post_init__(self) -> None:
        if self.positive_if is not None:
            self._rule(self.positive_if)

    def extract(self, rows: Rows) -> F32:
        """Labels, float32[n] of 0 or 1; rows whose label cannot be told are rejected, with 0.

        Raises FeatureError for a missing column or one of another type.
        """
        if self.positive_if is None:
            return self._plain_labels(rows)
        compare, threshold = self._rule(self.positive_if)
        values = rows.numbers(_FEATURE, self.column).values
        bad = ~np.isfinite(values)
        if bad.any():
            self._reject(rows, bad, "not a finite number")
        positive: Bool = compare(values, threshold)
        return (positive & ~bad).astype(np.float32)

    def _plain_labels(self, rows: Rows) -> F32:
        values = rows.numbers(_FEATURE, self.column).values
        column = plain(rows.column(_FEATURE, self.column))
        if pt.is_string(column.type) and np.isnan(values).any():
            lower: Any = pc.call_function("utf8_lower", [trimmed(column)])
            for word, label in (("true", 1.0), ("false", 0.0)):
                said: Any = pc.equal(lower, pa.scalar(word)).fill_null(False)
                values = np.where(said.to_numpy(zero_copy_only=False), label, values)
        bad = (values != 0.0) & (values != 1.0)
        if bad.any():
            self._reject(rows, bad, "neither 0 nor 1, true nor false")
            values = np.where(bad, 0.0, values)
        return values.astype(np.float32)

    def _reject(self, rows: Rows, bad: Bool, problem: str) -> None:
        rows.reject(
            np.flatnonzero(bad),
            lambda row: (
                f"label {self.column!r} is {rows.raw(_FEATURE, self.column, row)}, {problem}"
            ),
        )

    @staticmethod
    def _rule(text: str) -> tuple[Callable[[Any, Any], Any], float]:
        match = _RULE.fullmatch(text)
        if match is None:
            raise FeatureError(
                _FEATURE,
                f"positive_if: {text!r} is not a rule; write one of {' '.join(_COMPARE)} and a "
                'number, such as ">= 4"',
            )
        return _COMPARE[match[1]], float(match[2])
