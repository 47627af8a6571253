"""From Python values to request messages, for the client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from serving import predict_pb2 as pb
from serving.errors import FeatureValueError

if TYPE_CHECKING:
    from collections.abc import Mapping

# What a caller may give for a feature; a sequence is several values of a multi-valued one.
Scalar = str | bool | int | float
FeatureValue = Scalar | Sequence[Scalar] | np.ndarray[Any, Any] | None

# A feature's values for all candidates.
FeatureColumn = Sequence[FeatureValue] | np.ndarray[Any, Any]

_INT64 = range(-(1 << 63), 1 << 63)


def named_request(
    context: Mapping[str, FeatureValue], candidates: Sequence[Mapping[str, FeatureValue]]
) -> pb.PredictRequest:
    """A request by name; None leaves a feature out.

    Raises FeatureValueError for a value no request can carry.
    """
    return pb.PredictRequest(
        context=_values(context, None),
        candidates=[pb.Candidate(features=_values(c, i)) for i, c in enumerate(candidates)],
    )


def packed_request(
    context: Mapping[str, FeatureValue], candidates: Mapping[str, FeatureColumn]
) -> pb.PredictRequest:
    """A request in columns: each of the context's features once, each candidate feature n times.

    A column is an array or a sequence of scalars; with None or sequences in it, of as many values as
    each candidate has. Raises FeatureValueError for a value no request can carry.
    """
    return pb.PredictRequest(
        packed=pb.PackedFeatures(
            context=[
                _column(name, [value]) for name, value in context.items() if value is not None
            ],
            candidates=[_column(name, values) for name, values in candidates.items()],
        )
    )


def _values(features: Mapping[str, FeatureValue], candidate: int | None) -> dict[str, pb.Value]:
    return {
        name: _value(name, value, candidate)
        for name, value in features.items()
        if not _is_absent(value)
    }


def _is_absent(value: FeatureValue) -> bool:
    """None and no values say the same."""
    return value is None or (isinstance(value, list | tuple | np.ndarray) and len(value) == 0)


def _value(name: str, value: Any, candidate: int | None) -> pb.Value:
    """One feature of one example."""
    if isinstance(value, str):
        return pb.Value(string=value)
    if isinstance(value, bool | np.bool_):
        return pb.Value(bool=bool(value))
    if isinstance(value, int | np.integer):
        return pb.Value(int=_int64(name, int(value), candidate))
    if isinstance(value, float | np.floating):
        return pb.Value(number=float(value))
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return _several(name, list(value), candidate)
    raise FeatureValueError(
        name,
        f"{type(value).__name__} was given; give text, an integer, a float, a bool, or a list of such",
        candidate,
    )


def _several(name: str, values: list[Any], candidate: int | None) -> pb.Value:
    kind = _kind(name, values, candidate)
    if kind == "int":
        values = [_int64(name, value, candidate) for value in values]
    if kind == "string":
        return pb.Value(strings=pb.Strings(values=values))
    if kind == "int":
        return pb.Value(ints=pb.Ints(values=values))
    if kind == "number":
        return pb.Value(numbers=pb.Numbers(values=values))
    return pb.Value(bools=pb.Bools(values=values))


def _column(name: str, values: FeatureColumn) -> pb.Column:
    """One feature of all examples."""
    if isinstance(values, np.ndarray):
        return _packed(name, values.tolist(), ())
    if any(value is None or isinstance(value, list | tuple | np.ndarray) for value in values):
        lists = [_listed(value) for value in values]
        return _packed(name, [value for several in lists for value in several], map(len, lists))
    return _packed(name, list(values), ())


def _listed(value: Any) -> Sequence[Any]:
    if value is None:
        return ()
    if isinstance(value, np.ndarray):
        listed: list[Any] = value.tolist()
        return listed
    return value if isinstance(value, list | tuple) else (value,)


def _packed(name: str, values: list[Any], lengths: Any) -> pb.Column:
    column = pb.Column(name=name, lengths=lengths)
    kind = _kind(name, values, None)
    if kind == "string":
        column.strings.values.extend(values)
    elif kind == "int":
        column.ints.values.extend(_int64(name, value, None) for value in values)
    elif kind == "number":
        column.numbers.values.extend(values)
    else:
        column.bools.values.extend(values)
    return column


def _kind(name: str, values: Sequence[Any], candidate: int | None) -> str:
    """The one type of some values; integers among floats become floats."""
    if not values or all(isinstance(value, str) for value in values):
        return "string"
    if all(isinstance(value, bool | np.bool_) for value in values):
        return "bool"
    if all(isinstance(value, int | np.integer) for value in values):
        return "int"
    if all(isinstance(value, int | float | np.integer | np.floating) for value in values):
        return "number"
    found = ", ".join(sorted({type(value).__name__ for value in values}))
    raise FeatureValueError(name, f"values of {found} were given; give one type", candidate)


def _int64(name: str, value: int, candidate: int | None) -> int:
    if value not in _INT64:
        raise FeatureValueError(
            name, f"{value} does not fit in 64 bits; send it as text", candidate
        )
    return int(value)
