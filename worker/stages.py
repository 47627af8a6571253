"""Where a worker's time goes: seconds by stage, from a clock that is passed in."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ps.clock import Clock

# read: waiting for the stream. pull, push: waiting for shards, and handing them what is sent.
# wait: for orders, for shards that are being replaced, or held.
Stage = Literal["read", "pull", "compute", "push", "wait"]


class Stages:
    """The stages of one learning thread; written by it, read by any."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seconds: dict[str, float] = dict.fromkeys(
            ("read", "pull", "compute", "push", "wait"), 0.0
        )

    @contextmanager
    def spent_on(self, stage: Stage) -> Iterator[None]:
        """What happens within is this stage's, however it ends."""
        began_s = self._clock.monotonic_s()
        try:
            yield
        finally:
            self._seconds[stage] += self._clock.monotonic_s() - began_s

    @property
    def seconds(self) -> dict[str, float]:
        """Spent so far, by stage: a copy."""
        return dict(self._seconds)
