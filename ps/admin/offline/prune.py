"""Pruning a store where nothing runs, by a policy given on the spot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ps.admin.offline.writing import claimed
from ps.admin.target import PruneReport
from ps.store.catalog import Catalog
from ps.store.retention import prune as prune_store

if TYPE_CHECKING:
    from ps.clock import Clock
    from ps.store.location import Location
    from ps.store.retention import PrunePlan, RetentionPolicy


def prune(
    location: Location, policy: RetentionPolicy, *, dry_run: bool, clock: Clock
) -> PruneReport:
    """Delete what a policy does not keep, as the store's writer; a dry run needs not be.

    Raises StoreInUseError, StoreError.
    """
    catalog = Catalog(location)
    if dry_run:
        return _report(
            prune_store(catalog, policy, now_us=clock.now_us(), dry_run=True), dry_run=True
        )
    with claimed(location, "prune", above=catalog.newest_cursor().generation):
        return _report(prune_store(catalog, policy, now_us=clock.now_us()), dry_run=False)


def _report(plan: PrunePlan, *, dry_run: bool) -> PruneReport:
    return PruneReport(
        dry_run=dry_run,
        restore_points=tuple(at.epoch for at in plan.points),
        files=len(plan.files) + len(plan.leftovers),
        bytes=plan.bytes + plan.leftover_bytes,
    )
