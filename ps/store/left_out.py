"""What of a store is left behind, to begin afresh: tables, slots of tables, dense variables."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ps.store.rows import pick

if TYPE_CHECKING:
    from collections.abc import Collection

    from ps.block import Block, TableDelta

_SLOT_SHIFT = np.uint64(48)


class LeftOut:
    """Names as ps.store.description.differences takes them: TABLE, TABLE.SLOT, or a dense variable."""

    def __init__(self, names: Collection[str] = ()) -> None:
        self._names = frozenset(names)
        self._slots: dict[str, list[int]] = {}
        for name in sorted(self._names):
            table, _, slot = name.rpartition(".")
            if table and slot.isdecimal() and int(slot) < 1 << 16:
                self._slots.setdefault(table, []).append(int(slot))

    def __contains__(self, name: object) -> bool:
        """Whether a whole table or dense variable is left out."""
        return name in self._names

    def rows(self, table: str, rows: TableDelta) -> TableDelta:
        """The rows and removals of a table that are not left out; `rows` itself where all are not."""
        slots = self._slots.get(table)
        if slots is None:
            return rows
        kept, removed = (
            ~np.isin(fids >> _SLOT_SHIFT, np.array(slots, dtype=np.uint64))
            for fids in (rows.fids, rows.removed)
        )
        return rows if kept.all() and removed.all() else pick(rows, kept, removed)

    def block(self, block: Block) -> Block:
        """The block without what is left out. What a filter has counted of a slot stays counted."""
        if not self._names:
            return block
        return replace(
            block,
            tables={n: self.rows(n, rows) for n, rows in block.tables.items() if n not in self},
            dense={n: value for n, value in block.dense.items() if n not in self},
            filters={n: lines for n, lines in block.filters.items() if n not in self},
            tallies={n: tally for n, tally in block.tallies.items() if n not in self},
        )


NOTHING = LeftOut()
