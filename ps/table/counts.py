"""What a table counts: its tally, which goes from one holder of the rows to the next, and sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ps.block import TableTally
from ps.kernels import index
from ps.messages import TableStats

if TYPE_CHECKING:
    from ps.table.rows import Rows


def tally(rows: Rows) -> TableTally:
    """See Table.tally."""
    counters = rows.arrays.counters
    return TableTally(
        rows_admitted=int(counters[index.ADMITTED]),
        rows_expired=int(counters[index.EXPIRED]),
        rows_evicted=int(counters[index.EVICTED]),
        occurrences_refused=int(counters[index.REFUSED]),
    )


def carry_on(rows: Rows, tally: TableTally) -> None:
    """See Table.carry_on."""
    counters = rows.arrays.counters
    counters[index.ADMITTED] = tally.rows_admitted
    counters[index.EXPIRED] = tally.rows_expired
    counters[index.EVICTED] = tally.rows_evicted
    counters[index.REFUSED] = tally.occurrences_refused


def stats(rows: Rows, allocated_bytes: int) -> TableStats:
    """See Table.stats."""
    counters = rows.arrays.counters
    return TableStats(
        rows=len(rows),
        rows_admitted=int(counters[index.ADMITTED]),
        rows_expired=int(counters[index.EXPIRED]),
        rows_evicted=int(counters[index.EVICTED]),
        occurrences_refused=int(counters[index.REFUSED]),
        allocated_bytes=allocated_bytes,
    )
