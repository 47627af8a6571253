"""Resuming wherever the shards were left: every shard takes every record of the stream once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.assemble import ExampleSpec
from model.event_time import OffsetClock
from model.features import Categorical, FeatureSpec
from model.labels import LabelSpec
from model.models.registry import build_model
from ps.client import RoutingClient
from ps.clock import ManualClock
from ps.dense import DenseSpec
from ps.initializers import Initializer
from ps.optimizers import AdaGrad, Sgd
from ps.shard import Shard, ShardSpec
from ps.stream import Span
from ps.table import TableSpec
from tests.worker.learning import EXAMPLES, FEATURES, TABLE, chunk
from tests.worker.streams import ListSource
from worker.batching import batches, interleaved
from worker.events import EventChunk
from worker.learners import BatchLearner, ExampleLearner
from worker.metrics.progressive import MetricsSpec, ProgressiveMetrics
from worker.preparation import prepare
from worker.quarantine import Quarantine
from worker.skipping import leave_out
from worker.sources.again import Again, skips_in_pass
from worker.trainer import Trainer

if TYPE_CHECKING:
    from ps.block import Block
    from ps.messages import Push, PushReceipt
    from ps.store.commit import Skips
    from worker.events import Source
    from worker.learners import Learner

SIZES = {"a": 41, "b": 23, "c": 30}
ONE_ID = ExampleSpec(FeatureSpec((Categorical("id", "id", 1),)), LabelSpec("click"), OffsetClock())
COUNT = TableSpec(TABLE, 1, Sgd(1.0), capacity_rows=1_000)


@dataclass
class Ids(ListSource):
    """A stream in which every record has an id of its own."""

    def chunk(self, partition: str, begin: int, end: int) -> EventChunk:
        found = super().chunk(partition, begin, end)
        ids = [identity(partition, offset) for offset in found.offsets.tolist()]
        columns = {"id": pa.array(ids, pa.int64()), "click": pa.array([0] * len(ids), pa.int64())}
        return EventChunk(
            found.span, found.offsets, pa.RecordBatch.from_pydict(columns), found.rejected
        )


def identity(partition: str, offset: int) -> int:
    return ord(partition) * 1_000 + offset


class Dying(Shard):
    """A shard that may be cut off from its worker."""

    unreachable = False

    def push(self, push: Push) -> PushReceipt:
        if self.unreachable:
            raise ConnectionError
        return super().push(push)


@dataclass(frozen=True)
class Life:
    """One worker: how it cuts its batches, when it dies, what it finds and what it leaves.

    batches: how many it learns whole; the next one reaches only the shards before `reached`.
    younger: shards that are, at its end, put back to where they stood at its beginning.
    """

    batch_size: int
    batches: int
    reached: int
    younger: frozenset[int]


lives = st.lists(
    st.builds(
        Life, st.integers(1, 20), st.integers(0, 12), st.integers(0, 4),
        st.frozensets(st.integers(0, 3), max_size=3),
    ),
    max_size=5,
)  # fmt: skip


def new_shard(number: int, base: Block | None = None) -> Dying:
    shard = Dying(ShardSpec("m", (COUNT,), shard=number))
    if base is not None:
        shard.apply(base)
    return shard


def saved(shard: Shard) -> Block:
    shard.seal(0)
    return shard.export(0)


def live(
    life: Life, number: int, shards: list[Dying], source: Source, skips: Skips, passes: int
) -> None:
    """Read on from where the shards stand, to the end or to death."""
    client = RoutingClient(shards)
    learner = BatchLearner(
        build_model("counting", ONE_ID.features.layout, {}), ONE_ID.features.layout, client
    )
    metrics = ProgressiveMetrics(MetricsSpec(window_s=None))
    trainer = Trainer(learner, metrics, Quarantine(), generation=number)
    cuts, left = client.resume_cuts(), life.batches
    for again in range(passes):
        here = source if again == 0 else Again(source, again)
        begins = {name: cuts.get(name, (0,))[0] for name in here.partitions()}
        chunks = leave_out(
            interleaved(here, begins, life.batch_size, cuts=cuts), skips_in_pass(skips, again)
        )
        for prepared in prepare(chunks, ONE_ID, None, ManualClock()):
            for shard in shards[life.reached :]:
                shard.unreachable = left == 0
            try:
                trainer.learn(prepared)
            except ConnectionError:
                return
            left -= 1


@given(
    shards=st.sampled_from([1, 2, 4]), schedule=lives, passes=st.integers(1, 2),
    skips=st.fixed_dictionaries(
        {}, optional=dict.fromkeys("abc", st.just(((3, 9), (8, 15), (22, 23))))
    ),
    bad=st.frozensets(st.integers(0, 40), max_size=6),
)  # fmt: skip
@settings(max_examples=60)
def test_every_record_is_learned_once_whoever_dies_or_falls_back(
    shards: int, schedule: list[Life], passes: int, skips: Skips, bad: frozenset[int]
) -> None:
    source = Ids(SIZES, [5, 11], bad)
    held = [new_shard(number) for number in range(shards)]
    for number, life in enumerate(schedule):
        bases = [saved(shard) for shard in held]
        live(life, number, held, source, skips, passes)
        held = [
            new_shard(each, bases[each] if each in life.younger else saved(held[each]))
            for each in range(shards)
        ]
    live(Life(7, -1, 0, frozenset()), len(schedule), held, source, skips, passes)

    out = {name: {o for b, e in ranges for o in range(b, e)} for name, ranges in skips.items()}
    expected = {
        (1 << 48) + identity(name, offset): float(passes)
        for name, size in SIZES.items()
        for offset in range(size)
        if offset not in bad and offset not in out.get(name, set())
    }
    rows = [shard.table(TABLE).export() for shard in held]
    fids = np.concatenate([each.fids for each in rows]).tolist()
    weights = np.concatenate([each.weights[:, 0] for each in rows]).tolist()
    assert dict(zip(fids, weights, strict=True)) == expected
    names = [name + (f"#{again}" if again else "") for again in range(passes) for name in SIZES]
    for shard in held:
        assert shard.positions() == {name: SIZES[name[0]] for name in names}


@given(
    reached=st.lists(
        st.fixed_dictionaries({}, optional={name: st.integers(0, n) for name, n in SIZES.items()}),
        min_size=1, max_size=4,
    ),
    batch=st.integers(1, 25),
    stop=st.none() | st.integers(0, 50),
)  # fmt: skip
def test_from_any_positions_each_shard_is_given_what_it_lacks(
    reached: list[dict[str, int]], batch: int, stop: int | None
) -> None:
    """By the shards' own rule: a span ends at or before a position, or begins at it."""
    cuts = {name: sorted({each.get(name, 0) for each in reached}) for name in SIZES}
    stops = None if stop is None else dict.fromkeys(SIZES, stop)
    begins = {name: each[0] for name, each in cuts.items()}
    positions = [dict(each) for each in reached]
    for found in interleaved(Ids(SIZES, [7]), begins, batch, stops=stops, cuts=cuts):
        span = found.span
        for each in positions:
            at = each.get(span.partition, 0)
            assert span.begin == at or span.end <= at
            each[span.partition] = max(at, span.end)
    for each, before in zip(positions, reached, strict=True):
        for name, size in SIZES.items():
            last = size if stop is None else min(stop, size)
            assert each.get(name, 0) == max(before.get(name, 0), last)


def shard_for(kind: str) -> Shard:
    options: dict[str, Any] = {"counting": {}, "logistic": {}}.get(kind, {"dim": 4})
    model = build_model(kind, FEATURES.layout, options)
    zeros = kind in ("counting", "logistic")
    table = TableSpec(
        TABLE, model.row_width, AdaGrad(0.1),
        Initializer() if zeros else Initializer("normal", 0.1, model.leading_zeros),
        capacity_rows=500,
    )  # fmt: skip
    dense = tuple(
        DenseSpec(name, shape.shape, AdaGrad(0.1), shape.init_scale)
        for name, shape in model.dense_shapes().items()
    )
    return Shard(ShardSpec("m", (table,), dense))


@pytest.mark.parametrize("kind", ["logistic", "fm", "deepfm", "dcn", "counting", "by example"])
def test_a_batch_that_is_ruled_out_whole_moves_the_position_and_nothing_else(kind: str) -> None:
    shard = shard_for("logistic" if kind == "by example" else kind)
    learner: Learner
    if kind == "by example":
        learner = ExampleLearner(FEATURES.layout, shard)
    else:
        options: dict[str, Any] = {"counting": {}, "logistic": {}}.get(kind, {"dim": 4})
        model = build_model(kind, FEATURES.layout, options)
        learner = BatchLearner(model, FEATURES.layout, RoutingClient([shard]))
    trainer = Trainer(learner, ProgressiveMetrics(MetricsSpec(group_by=("item",))), Quarantine())
    chunks = [chunk(0, 20), chunk(20, 40), chunk(40, 60)]
    learned = []
    for one in prepare(leave_out(chunks, {"p": ((20, 40),)}), EXAMPLES, None, ManualClock()):
        before = shard.export(0)
        learned.append(trainer.learn(one))
        assert one.batch.span == Span("p", *nth_span(len(learned)))
        after = shard.export(0)
        if learned[-1] == 0:
            for name, dense in after.dense.items():
                assert dense.weights.tobytes() == before.dense[name].weights.tobytes()
            assert after.tables[TABLE].weights.tobytes() == before.tables[TABLE].weights.tobytes()
            assert after.event_ts_us == before.event_ts_us
    assert learned == [20, 0, 20]
    assert shard.positions() == {"p": 60}
    assert (trainer.positions_skipped, trainer.quarantine.records) == (20, 0)
    assert trainer.metrics.totals().examples == 40


def nth_span(number: int) -> tuple[int, int]:
    return (number - 1) * 20, number * 20


def test_a_finished_partition_is_not_read_again() -> None:
    source = Ids(SIZES)
    assert list(batches(source, "a", 41, 10)) == []
    assert list(batches(source, "a", 20, 10, stop=20)) == []
    assert source.open_reads == 0
