"""Snapshots: restore points with a name, which retention leaves alone until they are let go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ps.errors import (
    CorruptFileError,
    FileMissingError,
    ForeignFileError,
    NoRestorePointError,
    SpecError,
)
from ps.store.inventory import names_of
from ps.store.names import SNAPSHOTS, snapshot_file, snapshot_of
from ps.store.snapshot_file import Snapshot, decode_snapshot, encode_snapshot

if TYPE_CHECKING:
    from ps.block import Cursor
    from ps.store.catalog import Catalog
    from ps.store.location import Location


def create_snapshot(catalog: Catalog, name: str, at: Cursor, *, now_us: int) -> Snapshot:
    """Give a restore point a name, and so keep it and all it needs:

    1. read the commit
    2. put the snapshot, which holds the commit, exclusively
    3. make sure that all the commit needs is there still; otherwise take the snapshot back

    Again with the same name and restore point: no effect. Raises NoRestorePointError, SpecError where
    the name cannot be or is another's, CorruptFileError, ForeignFileError, StoreUnavailableError.
    """
    location = catalog.location
    file = snapshot_file(name)
    snapshot = Snapshot(name, now_us, catalog.read(at))  # 1
    if not location.create(file, encode_snapshot(snapshot)):  # 2
        there = decode_snapshot(location.read(file), file)
        if there.commit.at != at:
            raise SpecError(
                f"there is a snapshot {name!r} already, of epoch {there.commit.at.epoch}; choose "
                "another name, or let that one go"
            )
        return there
    missing = catalog.survey().missing(snapshot.commit)  # 3
    if missing:
        location.delete([file])
        raise NoRestorePointError(
            f"restore point {at.epoch} of store {location.url} lacks {len(missing)} of its "
            f"{len(names_of(snapshot.commit))} files ({missing[0]}); choose another"
        )
    return snapshot


def list_snapshots(location: Location) -> list[Snapshot]:
    """The snapshots that can be read, by name; the catalog reports those that cannot.

    Raises StoreUnavailableError.
    """
    found = []
    for info in location.list(SNAPSHOTS):
        if snapshot_of(info.name) is None:
            continue
        try:
            found.append(decode_snapshot(location.read(info.name), info.name))
        except (FileMissingError, CorruptFileError, ForeignFileError):
            continue
    return found


def delete_snapshot(location: Location, name: str) -> None:
    """Let a restore point go: from now on retention decides about it. Damaged ones, too.

    Raises NoRestorePointError where there is no such snapshot, SpecError, StoreUnavailableError.
    """
    file = snapshot_file(name)
    try:
        location.size(file)
    except FileMissingError as error:
        known = [snapshot_of(info.name) or "" for info in location.list(SNAPSHOTS)]
        raise NoRestorePointError(
            f"store {location.url} has no snapshot {name!r}; it has "
            f"{', '.join(repr(one) for one in known if one) or 'none'}"
        ) from error
    location.delete([file])
