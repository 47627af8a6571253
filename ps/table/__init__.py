"""The collisionless table: rows of one shape by fid, growing without moving, freed rows reused."""

from __future__ import annotations

from ps.table.spec import SlotPolicy, TableSpec
from ps.table.table import Table

__all__ = ["SlotPolicy", "Table", "TableSpec"]
