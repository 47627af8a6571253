"""Features made of numbers: a dense input, or a number put in a bucket."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from model.batch import FidColumn
from model.errors import FeatureError
from model.features.categorical import DEFAULT_TABLE
from model.fids import integer_fids, missing_fid, slot_prefix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model.features.rows import Numbers, Rows
    from ps.arrays import F32, F64, I64, Bool

Transform = Literal["none", "log1p", "signed_log1p", "sqrt"]
Buckets = Literal["log2", "criteo"]

# A bucket number is at most this in magnitude, so that it always fits an integer identity.
_LARGEST_BUCKET = 2.0**47


@dataclass(frozen=True, slots=True)
class Numeric:
    """One dense float: (transform(x) - mean) / scale, computed in float64, kept as float32.

    transform: none | log1p | signed_log1p, sign(x) log(1 + |x|) | sqrt. missing: the x that stands
    for a missing one, None to reject such rows. Rejected as well: text that is no number, NaN and
    infinities, and whatever the transform makes such of.
    """

    name: str
    column: str
    transform: Transform = "none"
    mean: float = 0.0
    scale: float = 1.0
    missing: float | None = None

    def __post_init__(self) -> None:
        if self.transform not in _TRANSFORMS:
            raise FeatureError(
                self.name,
                f"no transform {self.transform!r}; there are {', '.join(_TRANSFORMS)}",
            )
        if not math.isfinite(self.mean):
            raise FeatureError(self.name, f"mean {self.mean} is not a finite number")
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise FeatureError(self.name, f"scale {self.scale} is not a number above 0")
        if self.missing is not None and not np.isfinite(self._transformed(np.array(self.missing))):
            raise FeatureError(
                self.name, f"missing: {self.missing} has no finite {self.transform} transform"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """The raw columns it reads."""
        return (self.column,)

    def extract(self, rows: Rows) -> F32:
        """The values, float32[n], 0 in rejected rows.

        Raises FeatureError for a missing column or one that does not hold numbers.
        """
        numbers = rows.numbers(self.name, self.column)
        values = numbers.values
        if numbers.missing is not None and self.missing is not None:
            values = np.where(numbers.missing, self.missing, values)
        out = self._transformed(values)
        finite = np.isfinite(out)
        if not finite.all():
            _reject(self.name, self.column, rows, numbers, ~finite)
            out = np.where(finite, out, np.float32(0))
        return out

    def _transformed(self, values: F64) -> F32:
        with np.errstate(all="ignore"):
            if self.transform == "log1p":
                values = np.log1p(values)
            elif self.transform == "signed_log1p":
                values = np.copysign(np.log1p(np.abs(values)), values)
            elif self.transform == "sqrt":
                values = np.sqrt(values)
            if self.mean != 0.0 or self.scale != 1.0:
                values = (values - self.mean) / self.scale
            return values.astype(np.float32)


_TRANSFORMS = ("none", "log1p", "signed_log1p", "sqrt")


@dataclass(frozen=True, slots=True)
class Bucketised:
    """One id an example: the bucket a number falls into; exactly one rule is given.

    boundaries: increasing; bucket i holds boundaries[i - 1] <= x < boundaries[i].
    buckets "log2": floor(log2(1 + |x|)) with the sign of x. buckets "criteo": floor(log(x)^2) + 3
    above 2, floor(x) up to there (the winners' recipe of the Criteo challenge, Juan et al. 2014).
    A missing number is the missing id. Rejected: text that is no number, NaN and infinities.
    """

    name: str
    column: str
    slot: int
    boundaries: tuple[float, ...] | None = None
    buckets: Buckets | None = None
    table: str = DEFAULT_TABLE

    def __post_init__(self) -> None:
        slot_prefix(self.name, self.slot)
        if (self.boundaries is None) == (self.buckets is None):
            raise FeatureError(self.name, "give either boundaries or buckets")
        if self.buckets is not None and self.buckets not in _BUCKETS:
            raise FeatureError(
                self.name, f"no buckets {self.buckets!r}; there are {', '.join(_BUCKETS)}"
            )
        if self.boundaries is not None:
            edges = np.asarray(self.boundaries, np.float64)
            if not (len(edges) and np.isfinite(edges).all() and (np.diff(edges) > 0).all()):
                raise FeatureError(self.name, "boundaries must be finite and strictly increasing")
            object.__setattr__(self, "boundaries", tuple(float(edge) for edge in edges))

    @property
    def columns(self) -> tuple[str, ...]:
        """The raw columns it reads."""
        return (self.column,)

    def extract(self, rows: Rows, done: Mapping[str, FidColumn]) -> FidColumn:
        """The fids. Raises FeatureError for a missing column or one that does not hold numbers."""
        del done
        numbers = rows.numbers(self.name, self.column)
        prefix = slot_prefix(self.name, self.slot)
        finite = np.isfinite(numbers.values)
        if finite.all():
            return FidColumn(integer_fids(prefix, self._bucket(numbers.values)))
        bad = ~finite if numbers.missing is None else ~finite & ~numbers.missing
        if bad.any():
            _reject(self.name, self.column, rows, numbers, bad)
        fids = integer_fids(prefix, self._bucket(np.where(finite, numbers.values, 0.0)))
        fids[~finite] = missing_fid(prefix)
        return FidColumn(fids)

    def _bucket(self, values: F64) -> I64:
        """Bucket numbers of finite values, int64[n]."""
        if self.boundaries is not None:
            return np.searchsorted(self.boundaries, values, side="right").astype(np.int64)
        if self.buckets == "log2":
            size = np.floor(np.log2(1.0 + np.abs(values)))
            return np.copysign(size, values).astype(np.int64)
        small = np.clip(np.floor(values), -_LARGEST_BUCKET, 2.0)
        large = np.floor(np.square(np.log(np.maximum(values, 1.0)))) + 3.0
        return np.where(values > 2.0, large, small).astype(np.int64)


_BUCKETS = ("log2", "criteo")


def _reject(feature: str, column: str, rows: Rows, numbers: Numbers, bad: Bool) -> None:
    def reason(row: int) -> str:
        raw = rows.raw(feature, column, row)
        if numbers.missing is not None and numbers.missing[row]:
            return f"feature {feature!r}: {column!r} is missing and has no default"
        if numbers.unreadable is not None and numbers.unreadable[row]:
            return f"feature {feature!r}: {column!r} is {raw}, not a number"
        if not np.isfinite(numbers.values[row]):
            return f"feature {feature!r}: {column!r} is {raw}, not a finite number"
        return f"feature {feature!r}: {column!r} is {raw}, which the transform cannot take"

    rows.reject(np.flatnonzero(bad), reason)
