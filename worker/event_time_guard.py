"""Keeping the event clock honest: one row from the far future must not expire every other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from ps.arrays import I64, Bool

# Rows keep their last event time as whole seconds in 32 bits (design: row layout).
MAX_EVENT_TS_US = ((1 << 32) - 1) * 1_000_000


@dataclass(slots=True)
class Verdict:
    """accepted: bool[n]. reasons: why, by index, for those that are not."""

    accepted: Bool
    reasons: dict[int, str]


class GuardState(NamedTuple):
    """All that a guard remembers of the stream up to some place; the settings are not in it.

    streak to streak_high_us: the jumps in a row that are being rejected, and between which times.
    """

    clock_us: int | None = None
    backward: int = 0
    furthest_back_us: int = 0
    rejected: int = 0
    streak: int = 0
    streak_low_us: int = 0
    streak_high_us: int = 0


class EventTimeGuard:
    """Watches the event times of a stream, in its order; the event clock is the largest accepted.

    Times that run backwards are fine; they are counted in backward, and furthest_back_us remembers
    the worst. A time more than max_jump_us ahead of the clock is rejected, except for the very
    first. Since a stream may truly have stood still for longer, patience jumps in a row that agree
    among themselves (within max_jump_us) move the clock: the last of them is accepted, and so are
    those that follow. None never gives in.

    clock_us: where to begin, as when a run resumes; None means at the first time seen.
    """

    def __init__(
        self, max_jump_us: int, *, patience: int | None = 1_000, clock_us: int | None = None
    ) -> None:
        if max_jump_us <= 0:
            raise ValueError("max_jump_us must be above 0")
        if patience is not None and patience < 1:
            raise ValueError("patience must be at least 1, or None")
        self.clock_us = clock_us
        self.backward = 0
        self.furthest_back_us = 0
        self.rejected = 0
        self._max_jump_us = max_jump_us
        self._patience = patience
        # The jumps in a row that are being rejected: how many, and between which times.
        self._streak = self._streak_low_us = self._streak_high_us = 0

    @property
    def state(self) -> GuardState:
        """What it knows of the stream so far; restore() goes on from there."""
        return GuardState(
            self.clock_us,
            self.backward,
            self.furthest_back_us,
            self.rejected,
            self._streak,
            self._streak_low_us,
            self._streak_high_us,
        )

    def restore(self, state: GuardState) -> None:
        """Be as a guard was that had this state; max_jump_us and patience are this one's own."""
        self.clock_us = state.clock_us
        self.backward = state.backward
        self.furthest_back_us = state.furthest_back_us
        self.rejected = state.rejected
        self._streak = state.streak
        self._streak_low_us = state.streak_low_us
        self._streak_high_us = state.streak_high_us

    def check(self, event_ts_us: I64) -> Verdict:
        """Judge the next examples of the stream, int64[n], and move the clock."""
        if not len(event_ts_us):
            return Verdict(np.ones(0, np.bool_), {})
        start = self.clock_us if self.clock_us is not None else int(event_ts_us[0])
        before = np.maximum.accumulate(np.append(np.int64(start), event_ts_us))
        impossible = (event_ts_us < 0) | (event_ts_us > MAX_EVENT_TS_US)
        # Differences are only meaningful, and cannot overflow, where no time is impossible.
        if impossible.any() or (event_ts_us - before[:-1] > self._max_jump_us).any():
            return self._check_one_by_one(event_ts_us)
        self._streak = 0
        self._note_backward(before[:-1] - event_ts_us)
        self.clock_us = int(before[-1])
        return Verdict(np.ones(len(event_ts_us), np.bool_), {})

    def _note_backward(self, behind_us: I64) -> None:
        self.backward += int((behind_us > 0).sum())
        self.furthest_back_us = max(self.furthest_back_us, int(behind_us.max(initial=0)))

    def _check_one_by_one(self, event_ts_us: I64) -> Verdict:
        accepted = np.ones(len(event_ts_us), np.bool_)
        reasons: dict[int, str] = {}
        for i, ts_us in enumerate(event_ts_us.tolist()):
            if not 0 <= ts_us <= MAX_EVENT_TS_US:
                reasons[i] = "event time outside 1970 to 2106"
            elif self._is_jump(ts_us):
                seconds = self._max_jump_us / 1e6
                reasons[i] = f"event time more than {seconds:g} s ahead of the stream"
            else:
                self._note_backward(np.array([(self.clock_us or ts_us) - ts_us]))
                self.clock_us = max(self.clock_us or 0, ts_us)
                continue
            accepted[i] = False
        self.rejected += len(reasons)
        return Verdict(accepted, reasons)

    def _is_jump(self, ts_us: int) -> bool:
        if self.clock_us is None or ts_us - self.clock_us <= self._max_jump_us:
            self._streak = 0
            return False
        low, high = min(self._streak_low_us, ts_us), max(self._streak_high_us, ts_us)
        if self._streak == 0 or high - low > self._max_jump_us:
            self._streak = 0
            low = high = ts_us
        self._streak += 1
        self._streak_low_us, self._streak_high_us = low, high
        if self._patience is None or self._streak < self._patience:
            return True
        self._streak = 0
        return False
