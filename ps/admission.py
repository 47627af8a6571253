"""Admission: which new fids get a row; the specs, and one table's filter state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from ps.block import FilterDelta
from ps.errors import CorruptBlockError, ShapeError, SpecError
from ps.kernels import admit, sketch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.arrays import F64, I64, U8, U16, U32, U64

_SLOTS = 1 << 16
_SLOT_BITS = 48
_WORD_BITS = 64
_COMPARED_LINES = 1 << 14  # of two filters at once: a mebibyte of each
_HEADER_BYTES = 8  # of a line: its period
_MAX_POLICIES = 255  # that a uint8 can name, besides ADMIT_ALL
_MAX_REMEMBERED_FIDS = 1 << 33  # what 32 bits of line number reach
DEFAULT_REMEMBERED_FIDS = 1 << 20


@dataclass(frozen=True, slots=True)
class AdmitAll:
    """Every fid gets a row at its first occurrence."""


@dataclass(frozen=True, slots=True)
class AdmitAfter:
    """A fid gets a row once it has occurred this often of late (see ps.kernels.sketch)."""

    occurrences: int

    def __post_init__(self) -> None:
        if not 1 <= self.occurrences <= sketch.WIDE_CEILING:
            raise SpecError(
                f"admission after {self.occurrences!r} occurrences can never be met or means "
                f"nothing; set occurrences between 1 and {sketch.WIDE_CEILING:,}"
            )


@dataclass(frozen=True, slots=True)
class AdmitWithProbability:
    """Every occurrence wins its fid a row with this probability (McMahan et al. 2013, 3.1)."""

    probability: float

    def __post_init__(self) -> None:
        # A draw has 53 bits; what is smaller could never win.
        if not 2.0**-53 <= self.probability <= 1.0:
            raise SpecError(
                f"admission with probability {self.probability!r} can never admit or is no "
                "probability; set it above 0 and at most 1"
            )


Admission = AdmitAll | AdmitAfter | AdmitWithProbability

FilterArrays = tuple["U8", "F64", "U8", "U16", "I64", "I64", "U64"]


class AdmissionFilter:
    """One table's admission: the policies of its slots and what has been counted so far.

    slots: policy by slot number; slots that are not named admit all. remembered_fids: how many
    distinct fids a period of the sketch takes before the next begins, and so its memory: 32 bytes
    each, rounded up to a power of two, committed as it is touched. window_s: event time after which
    an occurrence is forgotten at the latest (after half of it at the earliest); None: never by time.

    The arrays are written by the kernel that inserts (ps.kernels.admit.admits); the state is part
    of the shard's. Raises SpecError.
    """

    def __init__(
        self,
        slots: Mapping[int, Admission],
        *,
        seed: int = 0,
        remembered_fids: int = DEFAULT_REMEMBERED_FIDS,
        window_s: int | None = None,
    ) -> None:
        if not 1 <= remembered_fids <= _MAX_REMEMBERED_FIDS:
            raise SpecError(
                f"remembered_fids is {remembered_fids!r}; set it between 1 and "
                f"{_MAX_REMEMBERED_FIDS:,}"
            )
        if window_s is not None and window_s < 2:
            raise SpecError(
                f"window_s is {window_s!r}; set it to at least 2 seconds, or leave it out"
            )
        self._half_window_s = None if window_s is None else window_s // 2
        self._slot_policy, self._policies = _policy_arrays(slots)
        thresholds = [p.occurrences for p in slots.values() if isinstance(p, AdmitAfter)]
        self._counts = any(n > 1 for n in thresholds)
        lines = 1
        while self._counts and lines * sketch.KEYS_PER_LINE < remembered_fids:
            lines *= 2
        self._lines = lines
        self._cells = _aligned_zeros(lines * sketch.LINE_BYTES)
        self._changed: U64 = np.zeros(-(-lines // _WORD_BITS), dtype=np.uint64)
        self._clock = np.zeros(sketch.CLOCK_WIDTH, dtype=np.int64)
        self._clock[sketch.PERIOD] = 1
        self._clock[sketch.KEY_LIMIT] = lines * sketch.KEYS_PER_LINE
        self._clock[sketch.LINE_MASK] = lines - 1
        self._clock[sketch.WIDE] = any(n > sketch.NARROW_CEILING for n in thresholds)
        self._clock[sketch.SEED : sketch.SEED + 1].view(np.uint64)[0] = seed & (2**64 - 1)

    @property
    def arrays(self) -> FilterArrays:
        """What admits() takes from slot_policy on, in order."""
        return (
            self._slot_policy,
            self._policies,
            self._cells,
            self._cells.view(np.uint16),
            self._cells.view(np.int64),
            self._clock,
            self._changed,
        )

    @property
    def allocated_bytes(self) -> int:
        """Memory of the sketch: fixed from the start."""
        return self._cells.nbytes

    def advance(self, now_s: int) -> None:
        """Move the filter's event time, once a push; time that runs backwards is ignored."""
        clock = self._clock
        if now_s <= clock[sketch.NOW_S]:
            return
        first = clock[sketch.NOW_S] == 0
        clock[sketch.NOW_S] = now_s
        if first:
            clock[sketch.PERIOD_START_S] = now_s
        if self._half_window_s is None:
            return
        halves = (now_s - int(clock[sketch.PERIOD_START_S])) // self._half_window_s
        if halves > 0:
            clock[sketch.PERIOD] += halves
            clock[sketch.KEYS] = 0
            clock[sketch.PERIOD_START_S] += halves * self._half_window_s

    def count(self, fid: int) -> int | None:
        """How often a fid without a row occurred of late, or a little more; None where its slot does
        not count. Writes nothing.
        """
        kind = self._policies[2 * int(self._slot_policy[fid >> _SLOT_BITS])]
        if kind != admit.ADMIT_AFTER:
            return None
        _, _, cells, wide_cells, periods, clock, _ = self.arrays
        return int(sketch.sketch_count(np.uint64(fid), cells, wide_cells, periods, clock))

    def delta(self) -> FilterDelta | None:
        """The lines written since the last delta, as new arrays; None where no slot counts."""
        if not self._counts:
            return None
        lines = self._changed_lines()
        self._changed[:] = 0
        return self._taken(lines)

    def export(self) -> FilterDelta | None:
        """Every line that still counts, as new arrays; the next delta is what it would have been.

        Lines of two periods ago and before count for nothing and are left out.
        """
        if not self._counts:
            return None
        periods = self._periods
        counting = (periods > 0) & (periods >= self._clock[sketch.PERIOD] - 1)
        return self._taken(np.flatnonzero(counting))

    def apply(self, delta: FilterDelta, *, replace: bool) -> None:
        """Take over the lines and the clock of another filter; they do not count as written here.

        replace: the delta is an export, so all other lines are emptied. A filter that does not count
        has no use for either. Raises SpecError where the delta is of another configuration,
        ShapeError or CorruptBlockError where it is malformed; then nothing has changed.
        """
        self.check(delta)
        if not self._counts:
            return
        if replace:
            # Only those in use: the others' pages may never have been touched.
            self._lines_2d[np.flatnonzero(self._periods)] = 0
            self._changed[:] = 0
        self._lines_2d[delta.lines] = delta.cells
        self._clock[list(_SAVED)] = (
            delta.period,
            delta.keys,
            delta.period_start_s,
            delta.now_s,
        )

    def merge(self, delta: FilterDelta) -> None:
        """Add another filter's export to what has been counted here: for resharding.

        Afterwards no fid has occurred less often than either of the two knew. Periods are compared
        by their age, not by their number; the younger clock goes on. The lines do not count as
        written. Raises what apply() raises.
        """
        self.check(delta)
        if not self._counts:
            return
        clock = self._clock
        period = max(int(clock[sketch.PERIOD]), delta.period)
        in_use = np.flatnonzero(self._periods)
        self._periods[in_use] += period - clock[sketch.PERIOD]
        cell = np.uint16 if clock[sketch.WIDE] else np.uint8
        theirs = _this_and_last(delta.cells, delta.period, cell)
        ours = _this_and_last(self._lines_2d[delta.lines], period, cell)
        merged = np.empty_like(delta.cells)
        merged[:, :_HEADER_BYTES].view(np.int64)[:] = period
        merged[:, _HEADER_BYTES:] = np.maximum(theirs, ours).view(np.uint8)
        self._lines_2d[delta.lines] = merged
        clock[list(_SAVED)] = (
            period,
            max(int(clock[sketch.KEYS]), delta.keys),
            max(int(clock[sketch.PERIOD_START_S]), delta.period_start_s),
            max(int(clock[sketch.NOW_S]), delta.now_s),
        )

    def mark_all(self) -> None:
        """Count every line as written, so that the next delta has them all."""
        whole, rest = divmod(self._lines, _WORD_BITS)
        self._changed[:whole] = np.uint64(2**64 - 1)
        if rest:
            self._changed[whole] = np.uint64((1 << rest) - 1)

    def mark_different(self, other: AdmissionFilter) -> None:
        """Count every line as written that a reader of the other filter may have otherwise, so that
        the next delta takes it from there to here: those whose cells differ, and those that count
        here and no longer do there, since an export() leaves them out. All lines where the two are
        of different configuration.
        """
        if (self._lines, self._clock[sketch.WIDE]) != (other._lines, other._clock[sketch.WIDE]):
            self.mark_all()
            return
        # A line of period 0 was never written.
        here, there = max(self._clock[sketch.PERIOD] - 1, 1), other._clock[sketch.PERIOD] - 1
        for begin in range(0, self._lines, _COMPARED_LINES):
            part = slice(begin, min(begin + _COMPARED_LINES, self._lines))
            mine, its = self._lines_2d[part].view(np.uint64), other._lines_2d[part].view(np.uint64)
            differ = (mine != its).any(axis=1)
            differ |= (self._periods[part] >= here) & (other._periods[part] < there)
            octets = np.packbits(differ, bitorder="little")
            # Chunks are whole words, but for the last.
            octets = np.pad(octets, (0, -octets.size % (_WORD_BITS // 8)))
            words = octets.view(np.uint64)
            first = begin // _WORD_BITS
            self._changed[first : first + words.size] |= words

    def forget_changes(self) -> None:
        """Count no line as written: what was, its reader has by other means."""
        self._changed[:] = 0

    def check(self, delta: FilterDelta) -> None:
        """Refuse a delta that apply() and merge() would refuse: see there."""
        n = delta.lines.size
        if delta.lines.dtype != np.uint32 or delta.lines.shape != (n,):
            raise ShapeError(
                "lines of an admission filter must be uint32[n], not "
                f"{delta.lines.dtype}{list(delta.lines.shape)}"
            )
        if delta.cells.dtype != np.uint8 or delta.cells.shape != (n, sketch.LINE_BYTES):
            raise ShapeError(
                f"{n} lines of an admission filter must be uint8[{n}, {sketch.LINE_BYTES}], not "
                f"{delta.cells.dtype}{list(delta.cells.shape)}"
            )
        if n and (
            int(delta.lines[-1]) >= delta.total_lines
            or (np.diff(delta.lines.astype(np.int64)) <= 0).any()
        ):
            raise CorruptBlockError(
                f"lines of an admission filter must rise and stay below {delta.total_lines:,}"
            )
        periods = delta.cells[:, :_HEADER_BYTES].copy().view(np.int64)
        if (
            delta.period < 1
            or delta.keys < 0
            or (periods < 0).any()
            or (periods > delta.period).any()
        ):
            raise CorruptBlockError(
                f"an admission filter in period {delta.period} has lines or counts of a period that "
                "cannot be"
            )
        if not self._counts:
            return
        wide = bool(self._clock[sketch.WIDE])
        if (delta.wide, delta.total_lines) != (wide, self._lines):
            raise SpecError(
                f"admission filter state has {delta.total_lines} lines of {_cell_name(delta.wide)} "
                f"cells, this table is configured for {self._lines} of {_cell_name(wide)}; keep "
                "remembered_fids and occurrences as they were, or restore without the filter"
            )

    @property
    def _lines_2d(self) -> U8:
        return self._cells.reshape(self._lines, sketch.LINE_BYTES)

    @property
    def _periods(self) -> I64:
        """The period of every line, a view."""
        return self._cells.view(np.int64)[:: sketch.LINE_BYTES // _HEADER_BYTES]

    def _changed_lines(self) -> I64:
        """The numbers of the lines marked as written, ascending."""
        words = np.flatnonzero(self._changed)
        octets = self._changed[words].view(np.uint8).reshape(words.size, _WORD_BITS // 8)
        which, bit = np.nonzero(np.unpackbits(octets, axis=1, bitorder="little"))
        return words[which] * _WORD_BITS + bit

    def _taken(self, lines: I64) -> FilterDelta:
        numbers: U32 = lines.astype(np.uint32)
        cells: U8 = self._lines_2d[lines]
        numbers.setflags(write=False)
        cells.setflags(write=False)
        clock = self._clock
        return FilterDelta(
            wide=bool(clock[sketch.WIDE]),
            total_lines=self._lines,
            period=int(clock[sketch.PERIOD]),
            keys=int(clock[sketch.KEYS]),
            period_start_s=int(clock[sketch.PERIOD_START_S]),
            now_s=int(clock[sketch.NOW_S]),
            lines=numbers,
            cells=cells,
        )


_SAVED = (sketch.PERIOD, sketch.KEYS, sketch.PERIOD_START_S, sketch.NOW_S)


def _this_and_last(lines: U8, period: int, cell: type[np.uint8 | np.uint16]) -> U8 | U16:
    """What lines (uint8[n, 64]) have counted in this period and the last, side by side: cells[n, k]."""
    periods = lines[:, :_HEADER_BYTES].copy().view(np.int64)[:, 0]
    counted = cast("U8 | U16", lines[:, _HEADER_BYTES:].copy().view(cell))
    half = counted.shape[1] // 2
    one_behind = periods == period - 1
    counted[one_behind, half:] = counted[one_behind, :half]
    counted[one_behind, :half] = 0
    counted[periods < period - 1] = 0
    return counted


def _cell_name(wide: int) -> str:
    return "16-bit" if wide else "8-bit"


def _aligned_zeros(size_bytes: int) -> U8:
    """Zeros that start on a cache line, their pages untouched."""
    memory = np.zeros(size_bytes + sketch.LINE_BYTES, dtype=np.uint8)
    start = -memory.ctypes.data % sketch.LINE_BYTES
    return memory[start : start + size_bytes]


def _policy_arrays(slots: Mapping[int, Admission]) -> tuple[U8, F64]:
    """slot_policy and policies as ps.kernels.admit reads them."""
    slot_policy = np.zeros(_SLOTS, dtype=np.uint8)
    known: dict[tuple[int, float], int] = {(admit.ADMIT_ALL, 0.0): 0}
    for slot, policy in slots.items():
        if not 0 <= slot < _SLOTS:
            raise SpecError(f"slot {slot} is out of range; slots are 0 to {_SLOTS - 1:,}")
        key = _kind_and_parameter(policy)
        number = known.setdefault(key, len(known))
        if number > _MAX_POLICIES:
            raise SpecError(
                f"more than {_MAX_POLICIES} different admission policies in one table; let slots "
                "share thresholds"
            )
        slot_policy[slot] = number
    return slot_policy, np.array(list(known), dtype=np.float64).reshape(-1)


def _kind_and_parameter(policy: Admission) -> tuple[int, float]:
    """The kernel's form; what always admits becomes ADMIT_ALL."""
    if isinstance(policy, AdmitAfter) and policy.occurrences > 1:
        return admit.ADMIT_AFTER, float(policy.occurrences)
    if isinstance(policy, AdmitWithProbability) and policy.probability < 1.0:
        return admit.ADMIT_WITH_PROBABILITY, policy.probability
    return admit.ADMIT_ALL, 0.0
