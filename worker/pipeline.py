"""Learning with calls under way: what is next is pulled, and what was pushed, while one computes."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

from model.lookup import LookupBuilder
from ps.errors import NonFiniteGradientError
from ps.gradients import check_gradient
from worker.step import empty_step, not_finite, step_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from model.batch import Lookup
    from model.features import FeatureLayout
    from model.model import Model
    from ps.client import RoutingClient
    from ps.handle import Pending
    from ps.messages import Pulled, PushReceipt
    from worker.preparation import Prepared
    from worker.stages import Stages
    from worker.step import Learned, Step


class Ready(NamedTuple):
    """A batch, and which rows it needs."""

    prepared: Prepared
    lookups: Mapping[str, Lookup]


class Outcome(NamedTuple):
    """A batch, and what has become of it."""

    prepared: Prepared
    learned: Learned


@dataclass(slots=True)
class _Flight:
    """A batch on its way. number: among all offered. admitted: it may be computed once its pull is there."""

    number: int
    ready: Ready
    admitted: bool = False
    pull: Pending[Pulled] | None = None
    step: Step | None = None


def looked_up(batches: Iterable[Prepared], layout: FeatureLayout) -> Iterator[Ready]:
    """Batches with their lookups, to be made ahead by the thread that reads."""
    lookups = LookupBuilder(layout.tables)
    try:
        for prepared in batches:
            yield Ready(prepared, lookups.build(prepared.batch))
    finally:
        close = getattr(batches, "close", None)
        if close is not None:
            close()


class PipelinedLearner:
    """Mini-batches through any model, in the order offered; a context manager of one thread.

    staleness: rows of a batch are asked for once every push has been acknowledged but for those of the
    `staleness` batches just before it; so no more than staleness + 1 pushes are under way, in order.
    0: one call at a time, with the results of BatchLearner, bit for bit. Above 0 a second thread
    collects acknowledgements, and asks for rows whenever one allows it. The first push of a partition is
    acknowledged before its second is begun.

    An outcome is there once its push is acknowledged by all shards, in order. Whatever fails is raised
    once, by the next of the methods; nothing works after it but close(), which leaves the calls that
    are under way to themselves.
    """

    def __init__(
        self,
        model: Model,
        client: RoutingClient,
        *,
        staleness: int,
        generation: int,
        stages: Stages,
    ) -> None:
        """model: this learner's own until it is closed. generation: of the stream's ownership."""
        if staleness < 0:
            raise ValueError(f"staleness must be 0 or more, not {staleness}")
        self._model = model
        self._client = client
        self._staleness = staleness
        self._generation = generation
        self._stages = stages
        # The client is no two threads' at once. Taken before _changed where both are.
        self._calling = threading.Lock()
        self._changed = threading.Condition()
        self._offered = self._acknowledged = 0
        self._ahead: deque[_Flight] = deque()
        self._flying: deque[_Flight] = deque()
        self._uncollected: deque[tuple[_Flight, Step, Pending[PushReceipt]]] = deque()
        self._settled: list[Outcome] = []
        # The number of the first batch of each partition that was pushed.
        self._first: dict[str, int] = {}
        self._failure: BaseException | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._acknowledge, name="pushes", daemon=True)
        if staleness:
            self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_full(self) -> bool:
        """Whether as many batches wait to be computed as can be asked for ahead."""
        return len(self._ahead) > self._staleness

    @property
    def has_next(self) -> bool:
        """Whether a batch waits to be computed."""
        return bool(self._ahead)

    def offer(self, ready: Ready) -> None:
        """The batch that comes next; its rows are asked for as soon as they may be."""
        with self._changed:
            self._ahead.append(_Flight(self._offered, ready))
            self._offered += 1
        with self._stages.spent_on("pull"), self._noting_failure():
            self._ask_ahead()

    def advance(self) -> None:
        """Wait for the rows of the next batch, compute it, and begin its push; there must be one."""
        with self._noting_failure():
            with self._stages.spent_on("pull"):
                flight = self._next()
                pulled = None if flight.pull is None else flight.pull.result()
            with self._stages.spent_on("compute"):
                step = flight.step = self._compute(flight.ready, pulled)
            with self._stages.spent_on("push"):
                push = self._send(flight, step)
                if not self._staleness:
                    self._settle(flight, step, push.result())

    def collect(self) -> list[Outcome]:
        """What has been acknowledged since, in order; raises what failed once that is all collected."""
        with self._changed:
            settled, self._settled = self._settled, []
            if not settled:
                self._raise_failure()
            return settled

    def land(self) -> None:
        """Wait until no push is under way."""
        with self._stages.spent_on("push"), self._changed:
            self._changed.wait_for(lambda: not self._flying or self._failure is not None)
            self._raise_failure()

    def close(self) -> tuple[Sequence[Outcome], Sequence[Outcome]]:
        """Begin no call any more, and leave those under way to themselves.

        Returns what was acknowledged and has not been collected, and what is in doubt: pushes begun
        of which nobody knows whether any shard has applied them, each as if it had been.
        """
        with self._calling, self._changed:
            self._closed = True
            settled, self._settled = self._settled, []
            doubtful = [
                Outcome(flight.ready.prepared, flight.step.learned(applied=True))
                for flight in self._flying
                if flight.step is not None
            ]
            self._ahead.clear()
            self._flying.clear()
            self._changed.notify_all()
        return settled, doubtful

    def sweep(self, deadline_s: float) -> bool:
        """Once closed, wait until no push is under way any more; False where that takes longer."""
        if self._staleness:
            self._thread.join(deadline_s)
        return not self._thread.is_alive()

    def _next(self) -> _Flight:
        """The next batch, once its turn has come."""
        with self._changed:
            flight = self._ahead[0]
            self._changed.wait_for(lambda: flight.admitted or self._failure is not None)
            self._raise_failure()
            return flight

    def _compute(self, ready: Ready, pulled: Pulled | None) -> Step:
        if pulled is None:
            return empty_step(ready.prepared.batch)
        step = step_of(self._model, ready.prepared.batch, ready.lookups, pulled.rows, pulled.dense)
        # Looked at here, since a push that is refused takes those sent after it along.
        try:
            for table, gradients in step.rows.items():
                check_gradient(f"table {table!r}", gradients.grads)
            for name, grad in step.dense.items():
                check_gradient(f"dense variable {name!r}", grad)
        except NonFiniteGradientError as error:
            return step.without_gradients(not_finite(error))
        return step

    def _send(self, flight: _Flight, step: Step) -> Pending[PushReceipt]:
        # A shard takes anything as the first of a partition: were that lost on its way, and the second
        # not, nobody would miss it. Once it is there, what does not follow it is refused.
        first = self._first.setdefault(step.span.partition, flight.number)
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    first == flight.number
                    or first < self._acknowledged
                    or self._failure is not None
                )
            )
            self._raise_failure()
        with self._calling:
            with self._changed:
                self._ahead.popleft()
                # Before the call: where that fails, some shard may have been reached all the same.
                self._flying.append(flight)
            push = self._client.begin_push(
                step.span,
                event_ts_us=step.event_ts_us,
                ingest_us=step.ingest_us,
                generation=self._generation,
                rows=step.rows,
                dense=step.dense,
            )
            if self._staleness:
                with self._changed:
                    self._uncollected.append((flight, step, push))
                    self._changed.notify_all()
        return push

    def _ask_ahead(self) -> None:
        """Pull for every batch whose turn it is."""
        with self._calling:
            while (flight := self._due()) is not None:
                batch, lookups = flight.ready.prepared.batch, flight.ready.lookups
                if batch.size:
                    fids = {table: lookup.fids for table, lookup in lookups.items()}
                    flight.pull = self._client.begin_pull(fids, dense=True)
                with self._changed:
                    flight.admitted = True
                    self._changed.notify_all()

    def _due(self) -> _Flight | None:
        with self._changed:
            if self._closed or self._failure is not None:
                return None
            flight = next((each for each in self._ahead if not each.admitted), None)
            if flight is None or flight.number > self._acknowledged + self._staleness:
                return None
            return flight

    def _settle(self, flight: _Flight, step: Step, receipt: PushReceipt) -> None:
        with self._changed:
            if self._closed or self._failure is not None:
                return
            self._flying.popleft()
            self._acknowledged += 1
            self._settled.append(Outcome(flight.ready.prepared, step.settled(receipt)))
            self._changed.notify_all()

    def _acknowledge(self) -> None:
        """The second thread: wait for each push in turn, and ask for the rows that this allows.

        It collects all that was begun, whatever fails, and though nobody wants to know any more.
        """
        while self._wait_for_push():
            flight, step, push = self._uncollected[0]
            # It is noted, and raised in the thread that learns.
            with suppress(BaseException), self._noting_failure():
                self._settle(flight, step, push.result())
                self._ask_ahead()
            self._uncollected.popleft()

    def _wait_for_push(self) -> bool:
        """Wait until a push is to be collected; False once there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._uncollected or self._closed)
            return bool(self._uncollected)

    @contextmanager
    def _noting_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            with self._changed:
                self._failure = self._failure or error
                self._changed.notify_all()
            raise

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
