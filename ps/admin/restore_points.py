"""Restore points of the job's store, for an operator: listed, kept under a name, pruned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ps.admin.target import PruneReport, RestorePoint
from ps.errors import NoRestorePointError, SpecError
from ps.store.names import is_snapshot_name
from ps.store.snapshots import create_snapshot

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ps.clock import Clock
    from ps.store.catalog import Catalog, PointInfo
    from ps.store.retention import PrunePlan


class PointStore(Protocol):
    """The store of a running job, as far as its restore points go."""

    @property
    def url(self) -> str:
        """Where it is."""
        ...

    def reading(self) -> AbstractContextManager[Catalog]:
        """The catalog, for one thread at a time."""
        ...

    def prune(self, *, dry_run: bool) -> PrunePlan:
        """Delete what retention does not keep. Raises StoreError, CorruptFileError."""
        ...


def listed(store: PointStore) -> list[RestorePoint]:
    """Every restore point, oldest first. Raises StoreUnavailableError."""
    with store.reading() as catalog:
        return [restore_point_of(point) for point in catalog.points()]


def check_name(store: PointStore, name: str) -> None:
    """Refuse early a name that pin() would refuse. Raises SpecError, StoreUnavailableError."""
    if not is_snapshot_name(name):
        raise SpecError(
            f"a snapshot cannot be called {name!r}; use up to 100 letters, digits, dots and dashes"
        )
    with store.reading() as catalog:
        if name in catalog.survey().pins:
            raise SpecError(f"there is a snapshot {name!r} already; choose another name")


def pin(store: PointStore, name: str, epoch: int, clock: Clock) -> RestorePoint:
    """Keep under a name the restore point of an epoch, or the first after it.

    The store merges epochs where it cannot keep up; the first restore point after an epoch then has
    all it had, and more. Raises NoRestorePointError, StoreError.
    """
    with store.reading() as catalog:
        at = next((point.at for point in catalog.points() if point.at.epoch >= epoch), None)
        if at is None:
            raise NoRestorePointError(
                f"epoch {epoch} is not in store {store.url}; look at its status"
            )
        create_snapshot(catalog, name, at, now_us=clock.now_us())
        return _named(catalog, name)


def restore_point_of(point: PointInfo, name: str | None = None) -> RestorePoint:
    """A restore point as people read it. name: of the snapshot that is meant, where it has several."""
    return RestorePoint(
        epoch=point.at.epoch,
        generation=point.at.generation,
        created_us=point.created_us,
        event_ts_us=point.event_ts_us,
        shards=point.shards,
        positions=point.positions,
        rows=point.rows,
        bytes_to_read=point.bytes_to_read,
        aligned=point.aligned,
        pinned_by=name or ", ".join(point.pinned_by) or None,
    )


def pruned(store: PointStore, *, dry_run: bool) -> PruneReport:
    """Delete what the plan does not keep. Raises StoreError, CorruptFileError."""
    found = store.prune(dry_run=dry_run)
    return PruneReport(
        dry_run=dry_run,
        restore_points=[at.epoch for at in found.points],
        files=len(found.files) + len(found.leftovers),
        bytes=found.bytes + found.leftover_bytes,
    )


def _named(catalog: Catalog, name: str) -> RestorePoint:
    for point in catalog.points():
        if name in point.pinned_by:
            return restore_point_of(point, name)
    raise NoRestorePointError(f"the restore point of snapshot {name!r} has been deleted meanwhile")
