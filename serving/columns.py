"""From the values of a request to Arrow columns, checked against what the model takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from serving.errors import FeatureValueError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ps.arrays import I64
    from serving.inputs import InputField

    Column = pa.Array[Any]

# Types in the order in which messages name them.
TYPES = ("string", "int", "number", "bool")

ARROW: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int": pa.int64(),
    "number": pa.float64(),
    "bool": pa.bool_(),
}

# Finite, but beyond any number that a float32 model can hold.
_LARGEST_NUMBER = float(np.finfo(np.float32).max)


def check_type(field: InputField, sent: str, candidate: int | None) -> None:
    """Raise FeatureValueError unless the field takes values of the type sent."""
    if sent not in field.types:
        allowed = " or ".join(name for name in TYPES if name in field.types) or "nothing"
        raise FeatureValueError(
            field.name, f"{field.kind}, takes {allowed}; {sent} was sent", candidate
        )


def scalar_column(
    field: InputField, sent: str, values: Sequence[object], *, shared: bool = False
) -> Column:
    """A column of one value per example, None where there is none; of lists for a multi-valued field.

    shared: the values are of the context, so a message names no candidate.
    """
    if sent == "number":
        _check_finite(field, np.array([0.0 if v is None else v for v in values]), None, shared)
    column: Column = pa.array(values, ARROW[sent])
    return _as_lists(column) if _takes_lists(field, sent) else column


def flat_column(
    field: InputField,
    sent: str,
    values: Sequence[object] | np.ndarray[Any, Any],
    lengths: I64 | None,
    *,
    shared: bool = False,
) -> Column:
    """A column from all examples' values one after the other.

    lengths: int64[n], how many each example has; None means one each. Raises FeatureValueError where
    the lengths do not add up, or say several for a field that takes one.
    """
    offsets = None
    if lengths is not None:
        if int(lengths.sum()) != len(values):
            raise FeatureValueError(
                field.name,
                f"lengths add up to {int(lengths.sum())}, but there are {len(values)} values",
            )
        offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
    if sent == "number":
        _check_finite(field, np.asarray(values, dtype=np.float64), offsets, shared)
    column: Column = pa.array(values, ARROW[sent])
    if offsets is None or lengths is None:
        return _as_lists(column) if _takes_lists(field, sent) else column
    if _takes_lists(field, sent):
        return _lists(offsets, column)
    if field.multi_valued:
        joined: Any = pc.binary_join(_lists(offsets, column), field.separator)
        whole: Column = joined
        return whole
    several = np.flatnonzero(lengths > 1)
    if len(several):
        at = int(several[0])
        raise FeatureValueError(
            field.name,
            f"takes one value, {int(lengths[at])} were sent",
            None if shared else at,
        )
    where: Any = pa.array(np.maximum(offsets[1:] - 1, 0), mask=lengths == 0)
    taken: Column = column.take(where) if len(column) else pa.nulls(len(lengths))
    return taken


def _takes_lists(field: InputField, sent: str) -> bool:
    """Whether values go in as lists; else as one, which may be a text for the feature to split."""
    return field.multi_valued and (field.separator is None or sent != "string")


def _as_lists(column: Column) -> Column:
    """Each value as a list of one, each null as a list of none."""
    offsets = np.zeros(len(column) + 1, dtype=np.int64)
    if not column.null_count:
        offsets[1:] = np.arange(1, len(column) + 1)
    else:
        present: Any = column.is_valid().to_numpy(zero_copy_only=False)
        np.cumsum(present, out=offsets[1:])
        column = column.drop_null()
    return _lists(offsets, column)


def _lists(offsets: I64, values: Column) -> Column:
    starts: Any = pa.array(offsets.astype(np.int32))
    lists: Column = pa.ListArray.from_arrays(starts, values)
    return lists


def _check_finite(
    field: InputField, numbers: np.ndarray[Any, Any], offsets: I64 | None, shared: bool
) -> None:
    """Raise FeatureValueError for a NaN, an infinity, or a number no float32 can hold."""
    good = np.abs(numbers) <= _LARGEST_NUMBER
    if good.all():
        return
    at = int(np.flatnonzero(~good)[0])
    candidate = at if offsets is None else int(np.searchsorted(offsets, at, side="right")) - 1
    raise FeatureValueError(
        field.name,
        f"{numbers[at]} was sent; numbers must be finite",
        None if shared else candidate,
    )
