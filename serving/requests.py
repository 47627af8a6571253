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
_BOOLS = frozenset({bool, np.bool_})
_SEVERAL = frozenset({type(None), list, tuple, np.ndarray})

# What counts as which type, the first that holds all values; no values are texts.
_KINDS: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("string", (str,)),
    ("bool", (bool, np.bool_)),
    ("int", (int, np.integer)),
    ("number", (int, float, np.integer, np.floating)),
)

# The arm of a message that holds several values of a type.
_PLURALS = {"string": "strings", "int": "ints", "number": "numbers", "bool": "bools"}


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
    several = pb.Value()
    getattr(several, _PLURALS[kind]).values.extend(_fitting(name, kind, values, candidate))
    return several


def _column(name: str, values: FeatureColumn) -> pb.Column:
    """One feature of all examples."""
    lengths: list[int] = []
    flat: list[Any] = values.tolist() if isinstance(values, np.ndarray) else list(values)
    if not _SEVERAL.isdisjoint(map(type, flat)):
        lists = [_listed(value) for value in flat]
        lengths = [len(several) for several in lists]
        flat = [value for several in lists for value in several]
    kind = _kind(name, flat, None)
    column = pb.Column(name=name, lengths=lengths)
    arm = getattr(column, _PLURALS[kind])
    arm.SetInParent()  # there even if no example has a value
    arm.values.extend(_fitting(name, kind, flat, None))
    return column


def _listed(value: Any) -> Sequence[Any]:
    """One example's values: None is none of them, a scalar is one."""
    if value is None:
        return ()
    if isinstance(value, np.ndarray):
        listed: list[Any] = value.tolist()
        return listed
    return value if isinstance(value, list | tuple) else (value,)


def _kind(name: str, values: Sequence[Any], candidate: int | None) -> str:
    """The one type of some values; integers among floats become floats."""
    types = set(map(type, values))
    for kind, allowed in _KINDS:
        if all(issubclass(found, allowed) for found in types) and (
            kind == "bool" or types.isdisjoint(_BOOLS)
        ):
            return kind
    found = ", ".join(sorted(one.__name__ for one in types))
    raise FeatureValueError(name, f"values of {found} were given; give one type", candidate)


def _fitting(name: str, kind: str, values: list[Any], candidate: int | None) -> list[Any]:
    """The values, if they fit where they go."""
    if kind == "int":
        for extreme in (min(values), max(values)):
            _int64(name, extreme, candidate)
    return values


def _int64(name: str, value: int, candidate: int | None) -> int:
    if value not in _INT64:
        raise FeatureValueError(
            name, f"{value} does not fit in 64 bits; send it as text", candidate
        )
    return int(value)
