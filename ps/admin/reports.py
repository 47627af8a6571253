"""What comes of working on a store where nothing runs, beside what a job reports as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class DamagedFile:
    """A file that is missing or not whole. fault: what is wrong with it."""

    name: str
    fault: str


@dataclass(frozen=True, slots=True)
class VerifiedPoint:
    """A restore point. faulty_files: how many of its files are damaged; whole: whether it can be
    restored all the same, by way of others.
    """

    epoch: int
    generation: int
    whole: bool
    faulty_files: int


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was read of a store, and what of it is damaged.

    files, bytes: that were read. restore_points: oldest first. newest_whole_epoch: of the newest that
    can be restored; None: none can. damaged: by name. unneeded: blocks and bases that no restore point
    needs, which pruning deletes. strangers: files that are no store's.
    """

    url: str
    files: int
    bytes: int
    restore_points: Sequence[VerifiedPoint]
    newest_whole_epoch: int | None
    damaged: Sequence[DamagedFile]
    unneeded: Sequence[str]
    strangers: Sequence[str]


@dataclass(frozen=True, slots=True)
class ExportReport:
    """A restore point copied to a store of its own, and verified there."""

    source: str
    destination: str
    epoch: int
    generation: int
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class SnapshotDeletion:
    """A snapshot let go, or (dry_run) to be. epoch: of what it kept; None: it was damaged."""

    dry_run: bool
    snapshot: str
    epoch: int | None
