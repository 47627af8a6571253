"""The settings of the built-in models, as they stand in a job file."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt


class Options(BaseModel):
    """What all options have in common: fixed once read, and nothing unknown among them."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LogisticOptions(Options):
    """Logistic regression has none."""


class FmOptions(Options):
    """dim: floats in each vector."""

    dim: PositiveInt = 16


class DeepFmOptions(Options):
    """hidden: the widths of the MLP's layers, first to last."""

    dim: PositiveInt = 16
    hidden: tuple[PositiveInt, ...] = Field(default=(256, 128), min_length=1)


class DcnOptions(Options):
    """rank: of the cross matrices, None for full ones. structure: the MLP beside or on the crosses."""

    dim: PositiveInt = 16
    hidden: tuple[PositiveInt, ...] = Field(default=(256, 128), min_length=1)
    cross_layers: PositiveInt = 2
    rank: PositiveInt | None = None
    structure: Literal["parallel", "stacked"] = "parallel"


class CountingOptions(Options):
    """The exactness probe has none."""
