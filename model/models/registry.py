"""The built-in models by name."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from pydantic import ValidationError

from model.errors import ModelOptionsError, UnknownModelError
from model.models.counting import Counting
from model.models.dcn import Dcn
from model.models.deepfm import DeepFm
from model.models.fm import FactorisationMachine
from model.models.logistic import LogisticRegression
from model.models.options import (
    CountingOptions,
    DcnOptions,
    DeepFmOptions,
    FmOptions,
    LogisticOptions,
    Options,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model.features import FeatureLayout
    from model.model import Model

MODEL_OPTIONS: Mapping[str, type[Options]] = MappingProxyType(
    {
        "logistic": LogisticOptions,
        "fm": FmOptions,
        "deepfm": DeepFmOptions,
        "dcn": DcnOptions,
        "counting": CountingOptions,
    }
)


def parse_options(kind: str, options: Mapping[str, object]) -> Options:
    """Check a model's settings. Raises UnknownModelError, ModelOptionsError."""
    parser = MODEL_OPTIONS.get(kind)
    if parser is None:
        raise UnknownModelError(kind, list(MODEL_OPTIONS))
    try:
        return parser.model_validate(dict(options))
    except ValidationError as error:
        known = ", ".join(parser.model_fields) or "none"
        problems = [
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}, found {e['input']!r}"
            for e in error.errors()
        ]
        raise ModelOptionsError(kind, [*problems, f"its options are: {known}"]) from error


def build_model(
    kind: str, layout: FeatureLayout, options: Options | Mapping[str, object] | None = None
) -> Model:
    """A built-in model for a layout, with its options, checked or raw; None means the defaults.

    Raises UnknownModelError; ModelOptionsError for options it does not have or cannot take, and for
    a model without anything to learn from.
    """
    if not isinstance(options, Options):
        options = parse_options(kind, options or {})
    match kind, options:
        case "logistic", LogisticOptions():
            return LogisticRegression(layout)
        case "counting", CountingOptions():
            return Counting(layout)
    if not layout.fields:
        raise ModelOptionsError(kind, ["it needs at least one feature with fids"])
    match kind, options:
        case "fm", FmOptions():
            return FactorisationMachine(layout, options.dim)
        case "deepfm", DeepFmOptions():
            return DeepFm(layout, options.dim, options.hidden)
        case "dcn", DcnOptions():
            return Dcn(
                layout,
                options.dim,
                options.hidden,
                options.cross_layers,
                options.rank,
                options.structure,
            )
    if kind not in MODEL_OPTIONS:
        raise UnknownModelError(kind, list(MODEL_OPTIONS))
    raise ModelOptionsError(kind, [f"these are {type(options).__name__}"])
