"""Users: threads that ask for predictions as long as a job is served, and forgive nothing."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from ps.clock import SystemClock
from serving.client import PredictClient
from serving.errors import PredictError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

THREADS = 3
# Between two calls of a thread: with three threads, about a hundred a second.
PAUSE_S = 0.03
TIMEOUT_S = 5.0


@dataclass
class Load:
    """A context manager. targets: where the servers are found. answered, errors, slowest_s: so far."""

    targets: Callable[[], Sequence[str]]
    answered: int = 0
    errors: list[str] = field(default_factory=list)
    slowest_s: float = 0.0

    def __post_init__(self) -> None:
        self._clock = SystemClock()
        self._client = PredictClient(self.targets, timeout_s=TIMEOUT_S)
        self._changing = threading.Lock()
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number,), daemon=True)
            for number in range(THREADS)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._client.close()

    def stop(self) -> None:
        """Ask no more; calls under way are waited for."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(2 * TIMEOUT_S)

    def _run(self, seed: int) -> None:
        rng = random.Random(seed)  # noqa: S311
        while not self._stopped.wait(PAUSE_S):
            began_s, error = self._clock.monotonic_s(), None
            try:
                found = self._client.predict(
                    {"user_id": rng.randrange(5_000)},
                    [{"item_id": rng.randrange(1_500)} for _ in range(4)],
                )
                if len(found.probabilities) != 4:
                    error = f"{len(found.probabilities)} predictions for 4 candidates"
            except PredictError as fault:
                error = f"{type(fault).__name__}: {fault}"
            took_s = self._clock.monotonic_s() - began_s
            with self._changing:
                self.slowest_s = max(self.slowest_s, took_s)
                if error is None:
                    self.answered += 1
                else:
                    self.errors.append(f"after {took_s:.2f} s: {error}")
