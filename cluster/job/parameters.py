"""The sections of a job file that say what is learned: model, tables, optimizers, dense variables."""

import dataclasses
import difflib
from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    PlainValidator,
    PositiveFloat,
    PositiveInt,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from cluster.job.section import Duration, Section
from model.models.options import (
    CountingOptions,
    DcnOptions,
    DeepFmOptions,
    FmOptions,
    LogisticOptions,
)
from ps.errors import SpecError
from ps.optimizers import OPTIMIZERS, Optimizer, optimizer_from_mapping


class LogisticModel(LogisticOptions):
    """Logistic regression."""

    kind: Literal["logistic"]


class FmModel(FmOptions):
    """A factorisation machine."""

    kind: Literal["fm"]


class DeepFmModel(DeepFmOptions):
    """A factorisation machine and an MLP over the same embeddings."""

    kind: Literal["deepfm"]


class DcnModel(DcnOptions):
    """DCN-v2: cross layers and an MLP."""

    kind: Literal["dcn"]


class CountingModel(CountingOptions):
    """The exactness probe: counts occurrences, predicts nothing."""

    kind: Literal["counting"]


ModelSection = Annotated[
    LogisticModel | FmModel | DeepFmModel | DcnModel | CountingModel, Discriminator("kind")
]


def _defaults(optimizer: type[Optimizer]) -> dict[str, Any]:
    # Every optimizer is a dataclass, which its abstract base cannot say.
    return {field.name: field.default for field in dataclasses.fields(optimizer)}  # type: ignore[arg-type]


def _optimizer_schema() -> dict[str, Any]:
    def properties(optimizer: type[Optimizer]) -> dict[str, Any]:
        return {
            "kind": {"const": optimizer.name},
            **{
                name: {
                    "type": "boolean" if isinstance(default, bool) else "number",
                    "default": default,
                }
                for name, default in _defaults(optimizer).items()
            },
        }

    return {
        "oneOf": [
            {
                "type": "object",
                "title": optimizer.name,
                "properties": properties(optimizer),
                "required": ["kind"],
                "additionalProperties": False,
            }
            for optimizer in OPTIMIZERS.values()
        ]
    }


def _read_optimizer(value: Any) -> Optimizer:
    """An optimizer from its mapping; a PydanticCustomError names the key that is to blame."""
    if not isinstance(value, dict):
        raise PydanticCustomError(
            "optimizer", "it should be a mapping such as {{kind: adagrad, learning_rate: 0.05}}"
        )
    try:
        return optimizer_from_mapping(value)
    except SpecError as error:
        text = str(error)
        to_blame = next((key for key in value if f" {key} " in text or f"'{key}'" in text), None)
        known = (
            _defaults(OPTIMIZERS[value["kind"]]) if value.get("kind") in OPTIMIZERS else OPTIMIZERS
        )
        wrong = value.get("kind") if value.get("kind") not in OPTIMIZERS else to_blame
        nearest = difflib.get_close_matches(str(wrong), [*known], 1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest and nearest[0] != wrong else ""
        raise PydanticCustomError(
            "said_in_full", "{text}{hint}", {"text": text, "hint": hint, "key": to_blame}
        ) from error


OptimizerSetting = Annotated[
    Optimizer, PlainValidator(_read_optimizer), WithJsonSchema(_optimizer_schema())
]


class InitializerSection(Section):
    """How rows start: normal of standard deviation scale, uniform in (-scale, scale), or zeros."""

    kind: Literal["normal", "uniform", "zeros"]
    scale: PositiveFloat | None = None


class TableSection(Section):
    """Rows of one optimizer and one initializer. What is left out depends on the model.

    capacity_rows: of the whole table, over all shards; null: as memory allows. remembered_fids:
    how many distinct fids admission counts at once. admission_window: after which it forgets.
    """

    optimizer: OptimizerSetting | None = None
    initializer: InitializerSection | None = None
    capacity_rows: PositiveInt | None = None
    on_full: Literal["error", "evict"] = "error"
    remembered_fids: Annotated[int | None, Field(ge=1, le=1 << 33)] = None
    admission_window: Duration | None = None


class DenseSection(Section):
    """The dense variables: biases, weights of dense inputs, layers."""

    optimizer: OptimizerSetting | None = None
