"""How the rows of a base are cut into sections, by buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ps.arrays import F64

# A section is read, checked and changed as a whole: a few of them are what a reader needs in memory.
# Cut in halves from here, sections have half as much or more.
SECTION_BYTES = 4 << 20


def cut(rows: F64, row_bytes: int, first_bucket: int, end_bucket: int) -> list[int]:
    """Where sections of buckets [first_bucket, end_bucket) end, the last at end_bucket.

    rows: float64[1024], how many are expected in every bucket. The range is halved until a section
    has at most SECTION_BYTES or is one bucket; end_bucket - first_bucket is a power of two.
    """
    expected_bytes = float(rows[first_bucket:end_bucket].sum()) * row_bytes
    if expected_bytes <= SECTION_BYTES or end_bucket - first_bucket == 1:
        return [end_bucket]
    middle = (first_bucket + end_bucket) // 2
    return [
        *cut(rows, row_bytes, first_bucket, middle),
        *cut(rows, row_bytes, middle, end_bucket),
    ]
