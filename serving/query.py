"""From a request to a query: checked Arrow columns of the context and of the candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pyarrow as pa

from serving.columns import check_type, flat_column, scalar_column
from serving.errors import BadRequestError, FeatureValueError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ps.arrays import I64
    from serving import predict_pb2 as pb
    from serving.columns import Column
    from serving.inputs import InputField

# The name of a column that no feature reads; it only says how many candidates there are.
_COUNT = "\0"

# The arms of Value that hold several, and the type of each.
_PLURALS = {"strings": "string", "ints": "int", "numbers": "number", "bools": "bool"}


@dataclass(frozen=True, slots=True)
class Query:
    """What to predict.

    candidates: one row each. context: one row that holds for all; together they have every column
    that the features read. event_ts_us: what the time is taken to be, wall time in microseconds.
    """

    candidates: pa.RecordBatch
    context: pa.RecordBatch
    event_ts_us: int

    @property
    def size(self) -> int:
        """How many candidates there are."""
        return self.candidates.num_rows


@dataclass(frozen=True, slots=True)
class QueryRules:
    """What a request may hold: the fields by name, and how many candidates."""

    fields: Mapping[str, InputField]
    max_candidates: int


def read_query(request: pb.PredictRequest, rules: QueryRules, now_us: int) -> Query:
    """Check a request, either form.

    Raises BadRequestError, or its FeatureValueError where one feature is to blame.
    """
    packed = request.HasField("packed")
    if packed and (request.candidates or request.context):
        raise BadRequestError("send either context and candidates, or packed, not both")
    reader = _Reader(rules, ignore_unknown=request.ignore_unknown_features)
    if packed:
        context, candidates, size = reader.packed(request.packed)
    else:
        context, candidates, size = reader.named(request.context, request.candidates)
    twice = next((name for name in candidates if name in context), None)
    if twice is not None:
        raise FeatureValueError(twice, "is in the context and in the candidates; send it in one")
    for name, field in rules.fields.items():
        if name in context or name in candidates:
            continue
        if field.required:
            raise FeatureValueError(name, f"is missing; {field.kind}, and it has no default")
        context[name] = pa.nulls(1)
    candidates[_COUNT] = pa.nulls(size)
    return Query(_batch(candidates), _batch(context), _event_time(request, now_us))


def _batch(columns: Mapping[str, Column]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _event_time(request: pb.PredictRequest, now_us: int) -> int:
    if not request.HasField("event_ts_us"):
        return now_us
    if request.event_ts_us < 0:
        raise BadRequestError(
            f"event_ts_us is {request.event_ts_us}; send microseconds since the Unix epoch, 0 or more"
        )
    return request.event_ts_us


class _Reader:
    """The reading of one request."""

    def __init__(self, rules: QueryRules, *, ignore_unknown: bool) -> None:
        self._fields = rules.fields
        self._max_candidates = rules.max_candidates
        self._ignore_unknown = ignore_unknown

    def named(
        self, context: Mapping[str, pb.Value], candidates: Sequence[pb.Candidate]
    ) -> tuple[dict[str, Column], dict[str, Column], int]:
        """The form by name: columns of the context and of the candidates, and how many there are."""
        size = self._checked_size(len(candidates))
        shared = self._gather([context], shared=True)
        each = self._gather((candidate.features for candidate in candidates), size=size)
        return shared, each, size

    def packed(self, packed: pb.PackedFeatures) -> tuple[dict[str, Column], dict[str, Column], int]:
        """The form in columns, likewise."""
        sizes = {column.name: _examples(column) for column in packed.candidates}
        size = self._checked_size(next(iter(sizes.values()), 0))
        for name, found in sizes.items():
            if found != size:
                first = next(iter(sizes))
                raise FeatureValueError(
                    name, f"is of {found} candidates, while {first!r} is of {size}"
                )
        for column in packed.context:
            if _examples(column) != 1:
                raise FeatureValueError(
                    column.name, f"is of {_examples(column)} examples; the context is one"
                )
        return (
            self._columns(packed.context, shared=True),
            self._columns(packed.candidates, shared=False),
            size,
        )

    def _checked_size(self, size: int) -> int:
        if size == 0:
            raise BadRequestError("there are no candidates; send at least one")
        if size > self._max_candidates:
            raise BadRequestError(
                f"there are {size} candidates; this server takes {self._max_candidates} at once, "
                "send the rest in further requests"
            )
        return size

    def _field(self, name: str, candidate: int | None) -> InputField | None:
        field = self._fields.get(name)
        if field is None and not self._ignore_unknown:
            known = ", ".join(sorted(self._fields))
            raise FeatureValueError(name, f"is not one of this model's: {known}", candidate)
        return field

    def _gather(
        self, examples: Iterable[Mapping[str, pb.Value]], *, size: int = 1, shared: bool = False
    ) -> dict[str, Column]:
        """Turn maps by name into columns."""
        found: dict[str, _Gathered] = {}
        for i, example in enumerate(examples):
            for name, value in example.items():
                gathered = found.get(name)
                if gathered is None:
                    field = self._field(name, None if shared else i)
                    if field is None:
                        continue
                    gathered = found[name] = _Gathered(field, size, shared=shared)
                gathered.put(i, value)
        return {name: gathered.column() for name, gathered in found.items()}

    def _columns(self, columns: Iterable[pb.Column], *, shared: bool) -> dict[str, Column]:
        out: dict[str, Column] = {}
        for column in columns:
            if column.name in out:
                raise FeatureValueError(column.name, "has two columns; send one")
            field = self._field(column.name, None)
            if field is not None:
                out[column.name] = _unpacked(field, column, shared=shared)
        return out


class _Gathered:
    """One feature's values, gathered from the examples that have it."""

    def __init__(self, field: InputField, size: int, *, shared: bool) -> None:
        self._field = field
        self._shared = shared
        self._arm: str | None = None
        self._values: list[Any] = [None] * size

    def put(self, example: int, value: pb.Value) -> None:
        """Take one example's value."""
        arm = value.WhichOneof("kind")
        if arm is None:
            self._refuse("has no value; leave a missing feature out", example)
        if arm != self._arm:
            if self._arm is not None:
                self._refuse(
                    f"{arm} was sent, and {self._arm} before; send one type in a request", example
                )
            self._arm = arm
            sent = _PLURALS.get(arm, arm)
            check_type(self._field, sent, None if self._shared else example)
            if arm in _PLURALS and not self._field.multi_valued:
                self._refuse(f"takes one value, {arm} was sent", example)
        self._values[example] = getattr(value, arm)

    def column(self) -> Column:
        """The column. Examples without a value are null, or an empty list."""
        arm = self._arm or "string"
        if arm not in _PLURALS:
            self._check_none_missing()
            return scalar_column(self._field, arm, self._values, shared=self._shared)
        lists = [() if value is None else value.values for value in self._values]
        lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
        flat = [value for values in lists for value in values]
        return flat_column(self._field, _PLURALS[arm], flat, lengths, shared=self._shared)

    def _check_none_missing(self) -> None:
        if self._field.required and None in self._values:
            self._refuse(
                f"is missing; {self._field.kind}, and it has no default", self._values.index(None)
            )

    def _refuse(self, reason: str, example: int) -> NoReturn:
        raise FeatureValueError(self._field.name, reason, None if self._shared else example)


def _values(column: pb.Column) -> tuple[str, Sequence[Any]]:
    """The type and the values of a packed column."""
    arm = column.WhichOneof("values")
    if arm is None:
        raise FeatureValueError(column.name, "its column has no values; leave it out instead")
    return _PLURALS[arm], getattr(column, arm).values


def _examples(column: pb.Column) -> int:
    """How many examples a packed column is of."""
    return len(column.lengths) or len(_values(column)[1])


def _unpacked(field: InputField, column: pb.Column, *, shared: bool) -> Column:
    sent, values = _values(column)
    if values:
        check_type(field, sent, None)
    flat: Any = values
    if sent == "int":
        flat = np.fromiter(values, dtype=np.int64, count=len(values))
    elif sent == "number":
        flat = np.fromiter(values, dtype=np.float64, count=len(values))
    else:
        flat = list(values)
    lengths: I64 | None = None
    if column.lengths:
        lengths = np.fromiter(column.lengths, dtype=np.int64, count=len(column.lengths))
        if field.required and not lengths.all():
            at = int(np.flatnonzero(lengths == 0)[0])
            raise FeatureValueError(
                field.name,
                f"is missing; {field.kind}, and it has no default",
                None if shared else at,
            )
    return flat_column(field, sent, flat, lengths, shared=shared)
