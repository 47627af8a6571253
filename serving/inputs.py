"""What a request may name: the columns that a model's features read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from model.features.categorical import Categorical, MultiValued
from model.features.numeric import Bucketised, Numeric

if TYPE_CHECKING:
    from collections.abc import Iterable

NAMING = frozenset({"string", "int", "bool"})
COUNTING = frozenset({"int", "number", "bool"})


@dataclass(frozen=True, slots=True)
class InputField:
    """One column of a request.

    kind: what the model makes of it. types: the value types it takes, of string, int, number, bool.
    multi_valued: whether an example may have several. separator: where the feature splits a text into
    values, None where it takes each text for one. required: whether the model has nothing to put in its place.
    """

    name: str
    kind: str
    types: frozenset[str]
    multi_valued: bool = False
    separator: str | None = None
    required: bool = False


def input_fields(features: Iterable[object]) -> dict[str, InputField]:
    """The columns that features read, by name; features that read none (crosses, clocks) add none.

    A column that several features read takes what all of them take.
    """
    fields: dict[str, InputField] = {}
    for feature in features:
        field = _field(feature)
        if field is None:
            continue
        before = fields.get(field.name)
        fields[field.name] = field if before is None else _both(before, field)
    return fields


def _field(feature: object) -> InputField | None:
    if isinstance(feature, Categorical):
        return InputField(feature.column, "categorical", NAMING)
    if isinstance(feature, MultiValued):
        return InputField(feature.column, "multi_valued", NAMING, True, feature.separator)
    if isinstance(feature, Bucketised):
        return InputField(feature.column, "bucketised", COUNTING)
    if isinstance(feature, Numeric):
        required = feature.missing is None
        return InputField(feature.column, "numeric", COUNTING, required=required)
    return None


def _both(one: InputField, other: InputField) -> InputField:
    kinds = [one.kind, *([other.kind] if other.kind not in one.kind.split("+") else [])]
    separators = {one.separator, other.separator}
    # Two different separators: only the whole text makes sense to both features.
    at_odds = len(separators - {None}) > 1
    return replace(
        one,
        kind="+".join(kinds),
        types=one.types & other.types,
        multi_valued=one.multi_valued and other.multi_valued and not at_odds,
        separator=one.separator if one.separator == other.separator else None,
        required=one.required or other.required,
    )
