"""What the event-time guard knew at recent places of the stream, to judge from there once more."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ps.stream import Span
    from worker.event_time_guard import GuardState

# At 100 batches a second, more than half a minute: shards fall back by a second or two.
_KEPT_BATCHES = 4_096


class _Place(NamedTuple):
    """A batch that was read, and what the guard knew before."""

    span: Span
    before: GuardState | None


class GuardTrail:
    """The guard's states of the last batches, in the order they were read.

    state: what it knows at the first of them; None: nothing. One thread's own.
    """

    def __init__(self, state: GuardState | None, kept_batches: int = _KEPT_BATCHES) -> None:
        self._places: deque[_Place] = deque(maxlen=kept_batches)
        self._state = state

    def note(self, span: Span, after: GuardState | None) -> None:
        """The batch that was read next, and what the guard knew once it had seen it."""
        self._places.append(_Place(span, self._state))
        self._state = after

    def rewind(self, cuts: Mapping[str, Sequence[int]]) -> GuardState | None:
        """The state to read on with, from the oldest position of every partition; 0 where none is known.

        That is the state before the first batch that will be read again. Where it is not remembered
        any more, the clock is ahead of what is read, which lets through all that passed before.
        """
        for number, place in enumerate(self._places):
            if place.span.begin >= cuts.get(place.span.partition, (0,))[0]:
                self._state = place.before
                while len(self._places) > number:
                    self._places.pop()
                break
        return self._state
