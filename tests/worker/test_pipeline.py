"""Calls under way change when things are done, and nothing of what is learned once they are in turn."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cluster.plan import spread
from model.lookup import LookupBuilder
from model.models.counting import Counting
from model.models.registry import build_model
from ps.client import RoutingClient
from ps.clock import SystemClock
from ps.dense import DenseSpec
from ps.errors import ShardUnavailableError
from ps.optimizers import AdaGrad, Sgd
from ps.shard import Shard, ShardSpec
from ps.table import TableSpec
from tests.worker.elsewhere import PATIENCE_S, Shards
from tests.worker.learning import FEATURES, TABLE, chunk, make_model, prepared
from tests.worker.learning import make_shard as learning_shard
from worker.events import EventChunk
from worker.learners import BatchLearner
from worker.pipeline import PipelinedLearner, Ready
from worker.stages import Stages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from model.batch import Gradients, Inputs
    from model.model import Model
    from ps.arrays import F32
    from worker.pipeline import Outcome
    from worker.preparation import Prepared

COUNT = TableSpec(TABLE, 1, Sgd(1.0), capacity_rows=1_000)


def stream(batches: int, size: int = 20) -> list[Prepared]:
    """With an empty batch and a ruled-out one in the middle."""
    chunks = [chunk(n * size, (n + 1) * size) for n in range(batches)]
    middle = chunks[batches // 2]
    chunks[batches // 2] = EventChunk(middle.span, np.arange(0), chunk(0, 0).columns)
    return prepared(*chunks)


def ready(one: Prepared) -> Ready:
    return Ready(one, LookupBuilder(FEATURES.layout.tables).build(one.batch))


def pipelined(
    model: Model, client: RoutingClient, staleness: int, generation: int = 0
) -> PipelinedLearner:
    return PipelinedLearner(
        model, client, staleness=staleness, generation=generation, stages=Stages(SystemClock())
    )


def run(learner: PipelinedLearner, batches: Sequence[Prepared]) -> list[Outcome]:
    """All of it, as far ahead as it allows."""
    outcomes: list[Outcome] = []
    left = list(batches)
    with learner:
        while left or learner.has_next:
            while left and not learner.is_full:
                learner.offer(ready(left.pop(0)))
            learner.advance()
            outcomes += learner.collect()
        learner.land()
        outcomes += learner.collect()
    assert learner.sweep(PATIENCE_S)
    return outcomes


@pytest.mark.parametrize("kind", ["logistic", "fm", "deepfm"])
@pytest.mark.parametrize("number", [1, 3])
def test_without_staleness_it_is_the_batch_learner_bit_for_bit(kind: str, number: int) -> None:
    def model() -> Model:
        return build_model("deepfm", FEATURES.layout, {"dim": 4, "hidden": [8]})

    make = model if kind == "deepfm" else lambda: make_model(kind)
    shape = make()
    table = TableSpec(
        TABLE, shape.row_width, AdaGrad(0.1), learning_shard("fm").spec.tables[0].initializer,
        capacity_rows=1_000,
    )  # fmt: skip
    dense = tuple(
        DenseSpec(name, s.shape, AdaGrad(0.1), s.init_scale)
        for name, s in shape.dense_shapes().items()
    )
    specs = spread([ShardSpec("m", (table,), dense)], number)
    one, two = [Shard(spec) for spec in specs], [Shard(spec) for spec in specs]
    batches = stream(12)
    plain = BatchLearner(make(), FEATURES.layout, RoutingClient(one))
    expected = [plain.learn(each.batch, 3) for each in batches]
    outcomes = run(pipelined(make(), RoutingClient(two), 0, generation=3), batches)
    assert [outcome.prepared for outcome in outcomes] == batches
    for outcome, learned in zip(outcomes, expected, strict=True):
        assert outcome.learned.probabilities is not None
        assert learned.probabilities is not None
        assert outcome.learned.probabilities.tobytes() == learned.probabilities.tobytes()
    assert [shard.digest() for shard in two] == [shard.digest() for shard in one]


class Watching(RoutingClient):
    """Notes how many batches are behind when rows are asked for, and how many pushes are under way."""

    def __init__(self, shards: Shards) -> None:
        directory = shards.directory
        super().__init__(
            [
                shards.connect(leader, len(directory.leaders))
                for leader in directory.leaders
                if leader
            ]
        )
        self.watched = shards
        self.most_ahead = self.most_under_way = self.pulls = self.begun = self.done = 0

    def begin_pull(self, *args: object, **kwargs: object):  # type: ignore[no-untyped-def]
        self.most_ahead = max(self.most_ahead, self.pulls - self.done)
        self.pulls += 1
        return super().begin_pull(*args, **kwargs)  # type: ignore[arg-type]

    def begin_push(self, *args: object, **kwargs: object):  # type: ignore[no-untyped-def]
        self.begun += 1
        self.most_under_way = max(self.most_under_way, self.begun - self.done)
        pending = super().begin_push(*args, **kwargs)  # type: ignore[arg-type]
        outer = self

        class Noted:
            def result(self) -> object:
                result = pending.result()
                outer.done += 1
                return result

        return Noted()


def counting_specs(number: int) -> list[ShardSpec]:
    return [ShardSpec("m", (COUNT,), shard=shard) for shard in range(number)]


@pytest.mark.parametrize("staleness", [0, 1, 2, 4])
@pytest.mark.parametrize("number", [1, 2])
def test_rows_are_never_staler_than_allowed(staleness: int, number: int) -> None:
    shards = Shards(counting_specs(number), np.random.default_rng(1))
    client = Watching(shards)
    batches = prepared(*[chunk(n * 20, (n + 1) * 20) for n in range(40)])
    outcomes = run(pipelined(Counting(FEATURES.layout), client, staleness), batches)
    assert [outcome.prepared for outcome in outcomes] == batches
    # Of batch n, at most `staleness` of those before it were not acknowledged yet.
    assert client.most_ahead <= staleness
    assert client.most_under_way <= staleness + 1
    reference = [Shard(spec) for spec in counting_specs(number)]
    plain = BatchLearner(Counting(FEATURES.layout), FEATURES.layout, RoutingClient(reference))
    for one in batches:
        plain.learn(one.batch, 0)
    # Counting sees nothing of the rows, so that nothing depends on how old they are.
    assert [p.shard.digest() for p in shards.processes] == [s.digest() for s in reference]
    shards.close()


class Meeting(Counting):
    """A model that computes a batch only once `met` says that something else has happened."""

    def __init__(self, met: Callable[[int], bool]) -> None:
        super().__init__(FEATURES.layout)
        self.met = met
        self.batches = 0

    def forward(self, inputs: Inputs) -> F32:
        assert self.met(self.batches), f"batch {self.batches} was computed alone"
        self.batches += 1
        return super().forward(inputs)


def test_the_next_pull_and_the_last_push_are_under_way_while_one_computes() -> None:
    shards = Shards(counting_specs(2), np.random.default_rng(1))
    client = Watching(shards)
    changed = threading.Condition()
    real = client.begin_pull

    def noted(*args: object, **kwargs: object) -> object:
        pending = real(*args, **kwargs)
        with changed:
            changed.notify_all()
        return pending

    client.begin_pull = noted  # type: ignore[method-assign]

    def met(batch: int) -> bool:
        """While batch n computes, the rows of the next come to be asked for, its own push not begun."""
        with changed:
            there = changed.wait_for(lambda: client.pulls >= min(batch + 2, 10), PATIENCE_S)
        return there and client.begun == batch

    batches = prepared(*[chunk(n * 20, (n + 1) * 20) for n in range(10)])
    outcomes = run(pipelined(Meeting(met), client, 1), batches)
    assert len(outcomes) == 10
    shards.close()


class Sometimes(Counting):
    """Every third batch has a gradient that no shard takes, every fifth an output that is none."""

    batches = 0

    def forward(self, inputs: Inputs) -> F32:
        self.batches += 1
        logits = super().forward(inputs)
        if self.batches % 5 == 0:
            logits[0] = np.nan
        return logits

    def backward(self, dlogits: F32) -> Gradients:
        gradients = super().backward(dlogits)
        if self.batches % 3 == 0:
            gradients.rows[TABLE][0] = np.inf
        return gradients


@pytest.mark.parametrize("staleness", [0, 1, 3])
@pytest.mark.parametrize("number", [1, 2])
def test_what_is_not_finite_drops_the_same_batches_and_no_others(
    staleness: int, number: int
) -> None:
    shards = Shards(counting_specs(number), np.random.default_rng(1))
    batches = stream(16)
    reference = [Shard(spec) for spec in counting_specs(number)]
    plain = BatchLearner(Sometimes(FEATURES.layout), FEATURES.layout, RoutingClient(reference))
    expected = [plain.learn(one.batch, 0).dropped for one in batches]
    assert len(set(expected)) == 3
    outcomes = run(pipelined(Sometimes(FEATURES.layout), Watching(shards), staleness), batches)
    assert [outcome.learned.dropped for outcome in outcomes] == expected
    assert [p.shard.digest() for p in shards.processes] == [s.digest() for s in reference]
    shards.close()


@pytest.mark.parametrize("staleness", [0, 1, 3])
@pytest.mark.parametrize("seed", range(8))
def test_whatever_fails_is_raised_and_what_was_acknowledged_is_known(
    staleness: int, seed: int
) -> None:
    print("seed", seed)
    rng = np.random.default_rng(seed)
    shards = Shards(counting_specs(2), rng)
    left = prepared(*[chunk(n * 20, (n + 1) * 20) for n in range(60)])
    total = [*left]
    learner = pipelined(Counting(FEATURES.layout), Watching(shards), staleness)
    known: list[Outcome] = []
    fails_after = int(rng.integers(40))

    def learn_on() -> None:
        while left:
            while left and not learner.is_full:
                learner.offer(ready(left.pop(0)))
            learner.advance()
            known.extend(learner.collect())
            for process in shards.processes:
                process.loss = 0.3 if len(known) >= fails_after else 0.0

    with pytest.raises(ShardUnavailableError):
        learn_on()
    settled, doubtful = learner.close()
    assert learner.sweep(PATIENCE_S)
    known += settled
    assert [one.prepared for one in [*known, *doubtful]] == total[: len(known) + len(doubtful)]
    assert len(doubtful) <= staleness + 1
    reached = [process.shard.positions().get("p", 0) for process in shards.processes]
    assert all(20 * len(known) <= at <= 20 * (len(known) + len(doubtful)) for at in reached)
    assert learner.close() == ([], [])
    shards.close()


def test_staleness_is_a_number_of_batches() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        pipelined(Counting(FEATURES.layout), RoutingClient([Shard(counting_specs(1)[0])]), -1)
