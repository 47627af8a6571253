"""The Criteo display advertising logs as published: tab-separated, without a header."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.sources.delimited import DEFAULT_CHUNK_ROWS, DelimitedSource
from worker.sources.delimited_format import DelimitedFormat

if TYPE_CHECKING:
    from worker.events import Source

CRITEO_COLUMNS = (
    "label",
    *(f"I{i}" for i in range(1, 14)),
    *(f"C{i}" for i in range(1, 27)),
)


def open_criteo(path: str, *, chunk_rows: int = DEFAULT_CHUNK_ROWS) -> Source:
    """The Criteo display advertising challenge: label, I1 to I13, C1 to C26, all as text.

    Tab-separated without a header; missing values are empty. The log has no timestamps: its order
    is its time. path: file, folder or glob (the terabyte log: one partition a day).
    """
    criteo = DelimitedFormat("\t", columns=CRITEO_COLUMNS, header=False, quote=None)
    return DelimitedSource(path, criteo, chunk_rows=chunk_rows)
