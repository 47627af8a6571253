"""How often a filter's lines say a fid occurred: ps.kernels.sketch read by plain Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ps.store.rows import mix64

if TYPE_CHECKING:
    from ps.block import FilterDelta

# As in ps.kernels.sketch; a test holds the two together.
_APART = 0xD6E8FEB86659FD93
_LOW_32 = 0xFFFFFFFF
_HEADER_BYTES = 8
_HALF_BYTES = 28
_GROUPS = 4
_NARROW_GROUP = 7
_WIDE_GROUP = 3


def occurrences(state: FilterDelta, fid: int) -> int:
    """How often the fid occurred in the filter's period and the one before, or a little more."""
    mixed = int(mix64(np.array([fid ^ _APART], dtype=np.uint64))[0])
    line = mixed & _LOW_32 & (state.total_lines - 1)
    at = int(np.searchsorted(state.lines, line))
    if at == state.lines.size or state.lines[at] != line:
        return 0
    cells = np.ascontiguousarray(state.cells[at])
    behind = state.period - int(cells[:_HEADER_BYTES].view("<i8")[0])
    if behind > 1:
        return 0
    counts: list[int] = cells[_HEADER_BYTES:].view("<u2" if state.wide else "u1").tolist()
    half = _HALF_BYTES // (2 if state.wide else 1)
    group = _WIDE_GROUP if state.wide else _NARROW_GROUP
    choice = mixed >> 32
    places = [n * group + ((choice >> 8 * n & 0xFF) * group >> 8) for n in range(_GROUPS)]
    this = min(counts[place] for place in places)
    # One period behind, the line's own cells are those of the period before, and there are no newer.
    return this if behind == 1 else this + min(counts[half + place] for place in places)
