"""Typed columns out of JSON objects: types are settled once, misfits are named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterable

_INT64 = range(-(1 << 63), 1 << 63)
# Classes of which every value fits a type, so that a column need not be looked at one by one.
_SAFE_CLASSES: dict[pa.DataType, frozenset[type]] = {
    pa.string(): frozenset({str}),
    pa.bool_(): frozenset({bool}),
    pa.float64(): frozenset({float}),
}


class ColumnTypes:
    """Names and Arrow types of the columns that objects are turned into."""

    def __init__(self, types: dict[str, pa.DataType]) -> None:
        self._types = types
        self._schema = pa.schema([pa.field(name, kind) for name, kind in types.items()])

    def misfits(self, records: list[dict[str, Any]]) -> dict[int, str]:
        """Which of these flat records do not fit, by index, and why."""
        reasons: dict[int, str] = {}
        for name, kind in self._types.items():
            values = [record.get(name) for record in records]
            if _all_fit(values, kind):
                continue
            for i, value in enumerate(values):
                if value is not None and not _fits(value, kind):
                    reasons.setdefault(i, f"{name}: {_kind_of(value)} where {kind} is expected")
        return reasons

    def to_columns(self, records: list[dict[str, Any]]) -> pa.RecordBatch:
        """Columns of records that fit; members that are no column are left out."""
        columns = [
            pa.array([record.get(name) for record in records], kind)
            for name, kind in self._types.items()
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)


def flattened(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Members of nested objects under dotted names."""
    if not any(isinstance(member, dict) for member in value.values()) and not prefix:
        return value
    flat: dict[str, Any] = {}
    for name, member in value.items():
        if isinstance(member, dict):
            flat |= flattened(member, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = member
    return flat


def infer_types(records: Iterable[dict[str, Any]]) -> ColumnTypes:
    """The types that most values of each member have; whole numbers give way to reals.

    A member that is null throughout is taken for text. Ties go to the type seen first.
    """
    seen: dict[str, dict[pa.DataType, int]] = {}
    for record in records:
        for name, value in record.items():
            votes = seen.setdefault(name, {})
            kind = _type_of(value)
            if kind is not None:
                votes[kind] = votes.get(kind, 0) + 1
    return ColumnTypes({name: _elected(votes) for name, votes in seen.items()})


def _elected(votes: dict[pa.DataType, int]) -> pa.DataType:
    for whole, real in (
        (pa.int64(), pa.float64()),
        (pa.list_(pa.int64()), pa.list_(pa.float64())),
    ):
        if whole in votes and real in votes:
            votes[real] += votes.pop(whole)
    return max(votes, key=votes.__getitem__) if votes else pa.string()


def _type_of(value: Any) -> pa.DataType | None:
    match value:
        case bool():
            return pa.bool_()
        case int():
            return pa.int64()
        case float():
            return pa.float64()
        case str():
            return pa.string()
        case list():
            members = {_type_of(member) for member in value} - {None}
            if members == {pa.int64(), pa.float64()}:
                return pa.list_(pa.float64())
            scalar = members.pop() if len(members) == 1 else None
            return None if scalar is None or pa.types.is_nested(scalar) else pa.list_(scalar)
    return None


def _all_fit(values: list[Any], kind: pa.DataType) -> bool:
    """Whether all values fit, told by their classes where these settle it; False is no proof."""
    classes = set(map(type, values)) - {type(None)}
    if isinstance(kind, pa.ListType) and classes <= {list}:
        return _all_fit([v for value in values if value for v in value], kind.value_type)
    if kind == pa.int64() and classes == {int}:
        present = [value for value in values if value is not None]
        return min(present) in _INT64 and max(present) in _INT64
    return classes <= _SAFE_CLASSES.get(kind, frozenset())


def _fits(value: Any, kind: pa.DataType) -> bool:
    if isinstance(kind, pa.ListType):
        inner = kind.value_type
        return isinstance(value, list) and all(v is None or _fits(v, inner) for v in value)
    if pa.types.is_boolean(kind):
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if pa.types.is_floating(kind):
        # Whole numbers beyond 2^53 would silently become others.
        return isinstance(value, float) or (isinstance(value, int) and abs(value) <= 1 << 53)
    if pa.types.is_integer(kind):
        return isinstance(value, int) and value in _INT64
    return isinstance(value, str)


def _kind_of(value: Any) -> str:
    names = {
        bool: "a boolean",
        int: "a whole number",
        float: "a number",
        str: "text",
        list: "a list",
    }
    return names.get(type(value), "an object")
