"""What a store's tables and dense variables are, and how a job's differ from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class TableDescription:
    """What a row of a table means. optimizer: its kind; initializer: kind and scale, in words.
    slots: by number, ttl and admission in words (they may change between runs).
    """

    width: int
    state_width: int
    optimizer: str
    initializer: str
    slots: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class DenseDescription:
    """A dense variable. state_size: floats of optimizer state."""

    shape: tuple[int, ...]
    state_size: int
    optimizer: str


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """Everything that decides whether stored rows still mean what a job takes them for.

    seed: decides the initial values of fids without a row.
    """

    seed: int
    tables: Mapping[str, TableDescription]
    dense: Mapping[str, DenseDescription]
