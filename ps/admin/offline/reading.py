"""What reading a store finds, as ps-admin reports it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ps.admin.reports import DamagedFile, VerifiedPoint, VerifyReport
from ps.store import verify as store_verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from ps.block import Cursor
    from ps.store.location import Location


def verify(
    location: Location, only: Cursor | None, *, on_progress: Callable[[int, int], None]
) -> VerifyReport:
    """Read every file of a store, or what one restore point needs.

    Raises NoRestorePointError, StoreUnavailableError; CorruptFileError where the one restore point
    cannot be read at all.
    """
    found = store_verify.verify(location, only=only, on_progress=on_progress)
    newest = found.newest_whole
    faults = {problem.name: problem.fault for problem in found.problems}
    for point in found.points:
        # Files that are whole, but not where this restore point has them.
        faults.update((fault.name, fault.fault) for fault in point.faults)
    return VerifyReport(
        url=found.url,
        files=found.files,
        bytes=found.bytes,
        restore_points=tuple(
            VerifiedPoint(point.at.epoch, point.at.generation, point.whole, len(point.faults))
            for point in found.points
        ),
        newest_whole_epoch=None if newest is None else newest.epoch,
        damaged=tuple(DamagedFile(name, faults[name]) for name in sorted(faults)),
        unneeded=found.orphans,
        strangers=found.strangers,
    )
