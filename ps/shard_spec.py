"""What a shard is asked to hold: tables, dense variables, and which shard of which model it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ps.errors import SpecError

if TYPE_CHECKING:
    from ps.dense import DenseSpec
    from ps.table import TableSpec


@dataclass(frozen=True, slots=True)
class ShardSpec:
    """What one shard of a model holds.

    model: the fingerprint of what was configured; blocks of another are refused. seed: with names
    and fids, decides every initial value.
    """

    model: str
    tables: tuple[TableSpec, ...]
    dense: tuple[DenseSpec, ...] = ()
    shard: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        names = [table.name for table in self.tables]
        if len(set(names)) != len(names):
            raise SpecError(f"two tables have one name among {names}; rename one")
