"""The feature specification: from raw columns to fids and floats, one object for train and serve."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from model.batch import FidColumn
from model.errors import FeatureError
from model.features.categorical import Categorical, MultiValued
from model.features.clock import DayOfWeek, HourOfDay
from model.features.cross import Cross
from model.features.layout import FeatureLayout, FidField
from model.features.numeric import Bucketised, Numeric
from model.features.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from model.features.categorical import Pooling
    from ps.arrays import F32, I64, Bool

FidFeature = Categorical | MultiValued | Bucketised | Cross | HourOfDay | DayOfWeek
Feature = FidFeature | Numeric

# Goes into every fingerprint: raise it when the same description starts to give other fids.
_RULES_VERSION = 1


@dataclass(frozen=True, slots=True)
class Extracted:
    """What features made of n raw rows; the caller owns the arrays.

    columns: by feature, in the order of the specification. dense: float32[n, dense_width].
    reasons: row -> why it must not be used; its fids and floats are placeholders.
    """

    size: int
    columns: Mapping[str, FidColumn]
    dense: F32
    reasons: Mapping[int, str]

    @property
    def bad(self) -> Bool:
        """bool[n], True in the rows that have a reason."""
        mask = np.zeros(self.size, np.bool_)
        mask[list(self.reasons)] = True
        return mask


@dataclass(frozen=True)
class FeatureSpec:
    """Features in the order in which models see them; checked when made.

    Raises FeatureError for a name given twice, a slot in two tables, a cross of what is not there.
    """

    features: tuple[Feature, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", tuple(self.features))
        if not self.features:
            raise FeatureError("(none)", "a specification needs at least one feature")
        by_name: dict[str, Feature] = {}
        table_of: dict[int, tuple[str, str]] = {}
        for feature in self.features:
            if feature.name in by_name:
                raise FeatureError(feature.name, "the name is given to two features")
            by_name[feature.name] = feature
            if isinstance(feature, Numeric):
                continue
            table, first = table_of.setdefault(feature.slot, (feature.table, feature.name))
            if table != feature.table:
                raise FeatureError(
                    feature.name,
                    f"slot {feature.slot} is in table {table!r} for {first!r} and in "
                    f"{feature.table!r} here; a slot lives in one table",
                )
        for feature in self.features:
            if isinstance(feature, Cross):
                _check_cross(feature, by_name)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The raw columns it reads, each once, in order of first use."""
        return tuple(dict.fromkeys(name for f in self.features for name in f.columns))

    @cached_property
    def layout(self) -> FeatureLayout:
        """What models need to know."""
        fields = tuple(
            FidField(f.name, f.slot, f.table, self._pooling(f)) for f in self._fid_features
        )
        return FeatureLayout(fields, len(self._numerics))

    @property
    def tables(self) -> dict[str, tuple[str, ...]]:
        """Table -> names of the features that live in it."""
        return self.layout.tables

    @cached_property
    def slots(self) -> dict[int, str]:
        """Slot -> the table it lives in."""
        return {f.slot: f.table for f in self._fid_features}

    @property
    def dense_width(self) -> int:
        """How many dense inputs there are."""
        return len(self._numerics)

    @cached_property
    def dense_names(self) -> tuple[str, ...]:
        """The features that are the columns of dense."""
        return tuple(f.name for f in self._numerics)

    def fingerprint(self) -> str:
        """16 hex digits that change whenever the same raw row may give other fids or floats."""
        described = [[type(f).__name__, asdict(f)] for f in self.features]
        text = json.dumps([_RULES_VERSION, described], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def extract(
        self, columns: pa.RecordBatch, event_ts_us: I64, shared: pa.RecordBatch | None = None
    ) -> Extracted:
        """Fids and floats of n rows.

        columns: n rows. event_ts_us: int64[n]. shared: one row that holds for all n (a request's
        user beside its candidates); a feature is made of it, once, if all its columns are there.
        A value that cannot be used makes its row bad, with a reason; it never raises. Raises
        FeatureError for a missing column or one of a wrong type.
        """
        size = columns.num_rows
        each = Rows(columns, event_ts_us)
        once = None if shared is None else Rows(shared, event_ts_us[:1])
        done: dict[str, FidColumn] = {}
        for feature in self._in_order_of_need:
            if once is not None and _all_in(once, feature):
                done[feature.name] = _repeated(feature.extract(once, done), size)
            else:
                done[feature.name] = feature.extract(each, done)
        dense = np.empty((size, self.dense_width), np.float32)
        for i, numeric in enumerate(self._numerics):
            rows = once if once is not None and _all_in(once, numeric) else each
            dense[:, i] = numeric.extract(rows)
        reasons = each.reasons
        if once is not None and once.reasons:
            reasons = dict.fromkeys(range(size), once.reasons[0])
        if self._has_crosses:
            done = {f.name: done[f.name] for f in self._fid_features}
        return Extracted(size, done, dense, reasons)

    @cached_property
    def _fid_features(self) -> tuple[FidFeature, ...]:
        return tuple(f for f in self.features if not isinstance(f, Numeric))

    @cached_property
    def _numerics(self) -> tuple[Numeric, ...]:
        return tuple(f for f in self.features if isinstance(f, Numeric))

    @cached_property
    def _has_crosses(self) -> bool:
        return any(isinstance(f, Cross) for f in self.features)

    @cached_property
    def _in_order_of_need(self) -> tuple[FidFeature, ...]:
        return tuple(sorted(self._fid_features, key=lambda f: isinstance(f, Cross)))

    def _pooling(self, feature: FidFeature) -> Pooling | None:
        if isinstance(feature, MultiValued):
            return feature.pooling
        if isinstance(feature, Cross):
            members = [f for f in self._fid_features if f.name in feature.of]
            if any(isinstance(f, MultiValued) for f in members):
                return feature.pooling
        return None


def _check_cross(cross: Cross, by_name: Mapping[str, Feature]) -> None:
    multi = []
    for name in cross.of:
        member = by_name.get(name)
        if member is None:
            raise FeatureError(cross.name, f"is a cross of {name!r}, and there is no such feature")
        if isinstance(member, Numeric | Cross):
            kind = type(member).__name__.lower()
            raise FeatureError(cross.name, f"is a cross of {name!r}, which is {kind}; cross ids")
        if isinstance(member, MultiValued):
            multi.append(name)
    if len(multi) > 1:
        raise FeatureError(cross.name, f"crosses {' and '.join(multi)}; one may be multi-valued")


def _all_in(once: Rows, feature: Feature) -> bool:
    return bool(feature.columns) and all(name in once for name in feature.columns)


def _repeated(column: FidColumn, size: int) -> FidColumn:
    """One row's fids, given to each of size rows."""
    if column.offsets is None:
        return FidColumn(np.repeat(column.fids, size))
    offsets = np.arange(size + 1, dtype=np.int64) * len(column.fids)
    return FidColumn(np.tile(column.fids, size), offsets)
