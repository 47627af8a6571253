"""Optimizers by the names that job files use."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ps.errors import SpecError
from ps.optimizers.adaptive import AdaGrad, Adam, RowwiseAdaGrad
from ps.optimizers.descent import Momentum, Sgd
from ps.optimizers.ftrl import FtrlProximal, GroupLassoFtrl

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.optimizers.spec import Optimizer

OPTIMIZERS: Mapping[str, type[Optimizer]] = {
    optimizer.name: optimizer
    for optimizer in (AdaGrad, Adam, FtrlProximal, GroupLassoFtrl, Momentum, RowwiseAdaGrad, Sgd)
}


def optimizer_from_mapping(settings: Mapping[str, object]) -> Optimizer:
    """The optimizer that {"kind": name, key: value, ...} describes; keys left out take defaults.

    Raises SpecError on an unknown kind or key, a value of the wrong type, or one out of range.
    """
    kind = settings.get("kind")
    if not isinstance(kind, str) or kind not in OPTIMIZERS:
        raise SpecError(f"optimizer kind is {kind!r}; set it to one of {', '.join(OPTIMIZERS)}")
    optimizer = OPTIMIZERS[kind]
    defaults = {field.name: field.default for field in fields(optimizer)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in settings.items():
        if key == "kind":
            continue
        if key not in defaults:
            raise SpecError(f"{kind} has no setting {key!r}; it takes {', '.join(defaults)}")
        wants_bool = isinstance(defaults[key], bool)
        if wants_bool != isinstance(value, bool) or not isinstance(value, (bool, int, float)):
            wanted = "true or false" if wants_bool else "a number"
            raise SpecError(f"{kind}: {key} is {value!r}; set it to {wanted}")
        values[key] = value if wants_bool else float(value)
    return optimizer(**values)
