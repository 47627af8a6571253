"""Compiling before it matters: every kernel a plan will use runs once on a few made-up rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from cluster.local.warmup import warm_up_store
from model.batch import Batch, FidColumn
from model.errors import FeatureError
from ps.client import RoutingClient
from ps.shard import Shard
from ps.stream import Span
from serving.table_store import TableStore
from worker.errors import SourceError
from worker.learners import BatchLearner, ExampleLearner
from worker.sources.ordered import OrderedSource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cluster.plan import Plan
    from model.features import FeatureLayout
    from worker.learners import Learner

# What a process of a job does: everything, where there is only one.
Duty = Literal["everything", "shard", "worker", "replica"]

_ROWS = 8


def warm_up(
    plan: Plan, on_step: Callable[[str], None] | None = None, duty: Duty = "everything"
) -> None:
    """Compile what the plan will call in a process of this duty, or load it from the cache.

    on_step: told what comes next, for a progress line; the first run on a machine takes up to a
    minute, later ones a second.
    """
    say = on_step or (lambda _: None)
    specs = [replace(spec, model="warm-up") for spec in plan.shards]
    shards = [Shard(spec) for spec in specs]
    layout = plan.examples.features.layout
    learner: Learner
    say("compiling the learner")
    if plan.train.grain == "example":
        learner = ExampleLearner(layout, shards[0])
    else:
        learner = BatchLearner(plan.make_model(), layout, RoutingClient(shards))
    warm_up_learner(learner, layout)
    if duty != "worker":
        say("compiling sync")
        _warm_up_sync(shards, replicas=duty != "shard")
    if plan.store is not None and duty in ("everything", "shard"):
        say("compiling the store")
        blocks = [shard.seal(sealed_us=0) for shard in shards]
        warm_up_store(specs[0], [blocks[0], shards[0].seal(sealed_us=0)])
    if duty in ("everything", "worker"):
        say("compiling features")
        _extract_first_rows(plan)


def _warm_up_sync(shards: Sequence[Shard], *, replicas: bool) -> None:
    for shard in shards:
        base = shard.export(sealed_us=0)
        for spec in shard.spec.tables if replicas else ():
            rows = base.tables[spec.name]
            replica = TableStore(spec, seed=0)
            replica.upsert(rows.fids, rows.weights, rows.last_seen_s)
            replica.set_clock(0)
            replica.read(rows.fids)
            replica.remove(rows.fids)
        shard.expire(now_s=0, budget_rows=1)


def _extract_first_rows(plan: Plan) -> None:
    """Make features of the first rows of the source, where reading them is no work."""
    if isinstance(plan.source, OrderedSource):
        return  # it would read and sort everything to know them
    try:
        first = next(iter(plan.source.read(plan.source.partitions()[0], 0)))
        plan.examples.assemble(first.columns, first.offsets, first.span)
    except (StopIteration, IndexError, SourceError, FeatureError):
        return  # the run itself will say what is wrong


def warm_up_learner(learner: Learner, layout: FeatureLayout) -> None:
    """Let a learner learn from a few made-up examples; it is spoilt for real ones.

    The first batch makes rows, the second finds them.
    """
    for step in range(2):
        learner.learn(_made_up(layout, step), generation=0)


def _made_up(layout: FeatureLayout, step: int) -> Batch:
    identities = np.arange(_ROWS, dtype=np.uint64)
    columns = {}
    for field in layout.fields:
        fids = identities + np.uint64(field.slot << 48)
        offsets = None if field.pooling is None else np.arange(_ROWS + 1, dtype=np.int64)
        columns[field.name] = FidColumn(fids, offsets)
    return Batch(
        size=_ROWS,
        columns=columns,
        dense=np.zeros((_ROWS, layout.dense_width), dtype=np.float32),
        event_ts_us=np.zeros(_ROWS, dtype=np.int64),
        labels=np.zeros(_ROWS, dtype=np.float32),
        offsets=np.arange(_ROWS, dtype=np.int64),
        span=Span("warm-up", step * _ROWS, (step + 1) * _ROWS),
        ingest_us=0,
    )
