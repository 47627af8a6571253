"""A client that asks for predictions all the time, at a bounded rate, over real gRPC."""

from __future__ import annotations

import random
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cluster.demo.job import CANDIDATE_COLUMNS, CONTEXT_COLUMNS
from serving.client import PredictClient
from serving.errors import PredictError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from ps.clock import Clock

_READY_POLL_S = 0.05
_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One request that was answered. at_s: since the start; staleness_s: of the weights."""

    at_s: float
    latency_ms: float
    staleness_s: float


class PredictLoad:
    """Asks the servers in turn from a thread of its own, from when they are ready until stop().

    recent: gives the columns of a batch that was just learned from, None before the first; users and
    items of requests are drawn from there. answers and errors may be read once stopped.
    """

    def __init__(
        self,
        targets: Sequence[str],
        recent: Callable[[], pa.RecordBatch | None],
        clock: Clock,
        *,
        per_s: float = 30.0,
        candidates: int = 20,
        seed: int = 1,
    ) -> None:
        self.answers: list[Answer] = []
        self.errors: Counter[str] = Counter()
        self._targets = targets
        self._recent = recent
        self._clock = clock
        self._interval_s = 1.0 / per_s
        self._candidates = candidates
        self._rng = random.Random(seed)  # noqa: S311  # which items to ask for is no secret
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="predict-load", daemon=True)
        self._started_s = clock.monotonic_s()

    def start(self) -> None:
        """Begin to ask."""
        self._started_s = self._clock.monotonic_s()
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; returns when the last request is answered."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        with PredictClient(self._targets, timeout_s=_TIMEOUT_S, clock=self._clock) as client:
            if not self._wait_ready(client):
                return
            due_s = self._clock.monotonic_s()
            while not self._stop.wait(max(0.0, due_s - self._clock.monotonic_s())):
                # A slow answer delays the next request; missed turns are not made up for.
                due_s = max(due_s + self._interval_s, self._clock.monotonic_s())
                self._ask(client)

    def _wait_ready(self, client: PredictClient) -> bool:
        """Wait until a server has a model and a batch is there to draw from; False when stopped."""
        while not self._stop.wait(_READY_POLL_S):
            if self._recent() is None:
                continue
            try:
                if client.get_model().ready:
                    return True
            except PredictError:
                continue
        return False

    def _ask(self, client: PredictClient) -> None:
        context, candidates = self._request()
        began_s = self._clock.monotonic_s()
        try:
            answer = client.predict(context, candidates)
        except PredictError as error:
            self.errors[type(error).__name__] += 1
            return
        ended_s = self._clock.monotonic_s()
        if len(answer.probabilities) != len(candidates):
            self.errors["wrong number of probabilities"] += 1
            return
        self.answers.append(
            Answer(ended_s - self._started_s, (ended_s - began_s) * 1e3, answer.staleness_s)
        )

    def _request(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Somebody who was just seen, and some of the items that were."""
        columns = self._recent()
        assert columns is not None  # noqa: S101  # waited for
        who = self._rng.randrange(columns.num_rows)
        what = [self._rng.randrange(columns.num_rows) for _ in range(self._candidates)]
        context = columns.select(list(CONTEXT_COLUMNS)).slice(who, 1).to_pylist()[0]
        return context, columns.select(list(CANDIDATE_COLUMNS)).take(what).to_pylist()
