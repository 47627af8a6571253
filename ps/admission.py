"""Admission: which new fids get a row; the specs, and one table's filter state."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ps.errors import CorruptBlockError, SpecError
from ps.kernels import admit, sketch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.arrays import F64, I64, U8, U16

_SLOTS = 1 << 16
_MAX_POLICIES = 255  # that a uint8 can name, besides ADMIT_ALL
_MAX_REMEMBERED_FIDS = 1 << 33  # what 32 bits of line number reach
DEFAULT_REMEMBERED_FIDS = 1 << 20

# magic, version, wide, lines, period, keys, period_start_s, now_s
_HEADER = struct.Struct("<4sHHqqqqq")
_MAGIC = b"TLAF"
_VERSION = 1


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

FilterArrays = tuple["U8", "F64", "U8", "U16", "I64", "I64"]


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
        self._clock = np.zeros(sketch.CLOCK_WIDTH, dtype=np.int64)
        self._clock[sketch.PERIOD] = 1
        self._clock[sketch.KEY_LIMIT] = lines * sketch.KEYS_PER_LINE
        self._clock[sketch.LINE_MASK] = lines - 1
        self._clock[sketch.WIDE] = any(n > sketch.NARROW_CEILING for n in thresholds)
        self._clock[sketch.SEED : sketch.SEED + 1].view(np.uint64)[0] = seed & (2**64 - 1)

    @property
    def arrays(self) -> FilterArrays:
        """slot_policy, policies, cells, wide_cells, periods, clock: what admits() takes, in order."""
        return (
            self._slot_policy,
            self._policies,
            self._cells,
            self._cells.view(np.uint16),
            self._cells.view(np.int64),
            self._clock,
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

    def state_bytes(self) -> bytes:
        """What has been counted, little-endian; empty where no slot counts."""
        if not self._counts:
            return b""
        clock = self._clock
        header = _HEADER.pack(
            _MAGIC,
            _VERSION,
            int(clock[sketch.WIDE]),
            self._lines,
            *(int(clock[i]) for i in _SAVED),
        )
        return header + self._cells.tobytes()

    def restore(self, state: bytes) -> None:
        """Take over what state_bytes() returned; empty means start counting afresh.

        Raises CorruptBlockError where the bytes are no filter's state, SpecError where they are
        another configuration's; the filter is then as it was.
        """
        if not state or not self._counts:
            self._clock[list(_SAVED)] = (1, 0, 0, 0)
            self._cells[:] = 0
            return
        if len(state) < _HEADER.size:
            raise CorruptBlockError(f"admission filter state of {len(state)} bytes is cut short")
        magic, version, wide, lines, *saved = _HEADER.unpack_from(state)
        if magic != _MAGIC or version != _VERSION:
            raise CorruptBlockError(
                f"admission filter state begins with {magic!r} version {version}, expected "
                f"{_MAGIC!r} version {_VERSION}"
            )
        if len(state) - _HEADER.size != lines * sketch.LINE_BYTES:
            raise CorruptBlockError(
                f"admission filter state of {lines} lines has {len(state)} bytes, expected "
                f"{_HEADER.size + lines * sketch.LINE_BYTES}"
            )
        if (wide, lines) != (int(self._clock[sketch.WIDE]), self._lines):
            raise SpecError(
                f"admission filter state has {lines} lines of {_cell_name(wide)} cells, this table "
                f"is configured for {self._lines} of {_cell_name(int(self._clock[sketch.WIDE]))}; "
                "keep remembered_fids and occurrences as they were, or restore without the filter"
            )
        self._clock[list(_SAVED)] = saved
        self._cells[:] = np.frombuffer(state, dtype=np.uint8, offset=_HEADER.size)


_SAVED = (sketch.PERIOD, sketch.KEYS, sketch.PERIOD_START_S, sketch.NOW_S)


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
