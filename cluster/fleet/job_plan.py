"""A plan as the coordinator of ps needs to know it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.errors import RunError
from ps.coordinator.plan import JobPlan, StoreKeeping
from ps.fingerprint import code_fingerprint
from ps.store.retention import RetentionPolicy
from ps.store.upkeep import UpkeepPolicy
from worker.merging import merge_states

if TYPE_CHECKING:
    from cluster.plan import Plan
    from ps.store.resume import GoOnFrom


def job_plan(plan: Plan, wanted: GoOnFrom) -> JobPlan:
    """The part of a plan that coordinating takes. plan.source: opened. Raises RunError."""
    store = plan.store
    if store is None:
        raise RunError("on a cluster a job needs a store; add store: {url: ...} to the job file")
    return JobPlan(
        name=plan.name,
        specs_for=plan.shard_specs,
        shards=len(plan.shards),
        store=StoreKeeping(
            store.url,
            store.commit_every_s,
            UpkeepPolicy(
                retention=RetentionPolicy(store.keep_points, store.keep_age_s, store.keep_bytes),
                compact_blocks=store.compact_after_blocks,
                compact_share=store.compact_after_share,
                compact_memory_bytes=store.compact_memory_bytes,
            ),
        ),
        partitions=plan.source.partitions,
        merge_states=merge_states,
        fingerprint=code_fingerprint(),
        seal_interval_s=plan.serve.sync_interval_s,
        go_on_from=wanted,
    )
