"""A store as ps-admin sees it: who writes to it, and what is in it."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from ps.addresses import host_of, is_loopback
from ps.admin.reports import ExportReport, SnapshotDeletion
from ps.admin.restore_points import restore_point_of
from ps.clock import SystemClock
from ps.errors import CorruptFileError, NoRestorePointError, SpecError
from ps.store.catalog import Catalog
from ps.store.claim import claim_in_force, read_claims
from ps.store.identity import read_identity
from ps.store.inventory import newest_first
from ps.store.location import DEADLINE_S, Location
from ps.store.names import COMMITS
from ps.store.opening import open_location

if TYPE_CHECKING:
    from collections.abc import Callable

    from ps.admin.reports import VerifyReport
    from ps.admin.target import PruneReport, ReshardReport, RestorePoint
    from ps.block import Cursor
    from ps.clock import Clock
    from ps.inspected import InspectedRow, InspectedSlot
    from ps.store.commit import Commit
    from ps.store.diff import PointDiff
    from ps.store.holder import Holder

    # Told what is being done just now.
    OnProgress = Callable[[str], None]

_US = 1_000_000


@dataclass(frozen=True)
class OfflineStore:
    """A store, read by this process; every method raises StoreError and its kind, and SpecError.

    What changes it takes its claim first, so that nobody else writes meanwhile.
    """

    location: Location
    clock: Clock
    deadline_s: float = DEADLINE_S

    @classmethod
    def at(cls, url: str, *, deadline_s: float | None = None) -> Self:
        """The store of a URL or path. deadline_s: for its every answer; a folder's is waited for."""
        wanted_s = DEADLINE_S if deadline_s is None else deadline_s
        return cls(open_location(url, deadline_s=wanted_s), SystemClock(), wanted_s)

    def admin_address(self) -> str | None:
        """Where the job that writes to the store can be called; None: nothing runs, or not there."""
        claim = claim_in_force(self.location, self.clock.now_us())
        return None if claim is None or _is_elsewhere(claim.holder) else claim.holder.admin

    def why_nothing_answers(self) -> str:
        """Why there is no job to talk to, and what to do."""
        url = self.location.url
        claim = claim_in_force(self.location, self.clock.now_us())
        if claim is not None and claim.holder.admin is not None:
            return (
                f"{claim.holder} writes to store {url}; its admin service can be reached on that "
                "machine only, so run ps-admin there"
            )
        if claim is not None:
            return (
                f"{claim.holder} writes to store {url}, and has no admin service; give its job file "
                "one (admin: ...), or stop it and work on the store"
            )
        claims = read_claims(self.location)
        if not claims:
            return (
                f"nothing runs on {url}, and it is no store: {self.location.why_empty()}. Name a "
                "job's store, or HOST:PORT of a running job"
            )
        last = claims[-1]
        idle_s = max(self.clock.now_us() - last.renewed_us, 0) / _US
        return (
            f"nothing runs on store {url}; {last.holder.who} (process {last.holder.pid} on "
            f"{last.holder.host}) wrote to it last, {_ago(idle_s)} ago. trilith train JOB.yaml goes "
            "on from it"
        )

    def restore_points(self) -> list[RestorePoint]:
        """What the store holds, oldest first."""
        self._check()
        return [restore_point_of(point) for point in Catalog(self.location).points()]

    def commit(self, which: str | None) -> Commit:
        """A restore point by its epoch or a snapshot's name; None: the newest.

        By whatever way its files allow. Raises NoRestorePointError, CorruptFileError.
        """
        self._check()
        catalog = Catalog(self.location)
        if which is not None:
            commit = catalog.read(self._cursor(which))
            return catalog.chain_without(commit, ()) or commit
        newest = catalog.newest_whole()
        if newest is None:
            raise NoRestorePointError(
                f"store {self.location.url} has no restore point whose files are all there; ps-admin "
                "verify says what is missing"
            )
        return newest

    def _cursor(self, which: str) -> Cursor:
        """Of a snapshot's name, or of an epoch: the newest generation that has it.

        Raises NoRestorePointError.
        """
        inventory = Catalog(self.location).survey()
        if which in inventory.pins:
            return inventory.pins[which]
        if which.isascii() and which.isdigit():
            known = {*inventory.commits, *inventory.commit_files}
            for at in newest_first(at for at in known if at.epoch == int(which)):
                return at
        epochs = sorted({at.epoch for at in inventory.commits})
        have = f"epochs {epochs[0]} to {epochs[-1]}" if epochs else "no restore point"
        named = f", and snapshots {', '.join(sorted(inventory.pins))}" if inventory.pins else ""
        raise NoRestorePointError(
            f"store {self.location.url} has no restore point {which!r}; it has {have}{named}: see "
            "ps-admin list"
        )

    def verify(self, which: str | None, *, on_progress: OnProgress) -> VerifyReport:
        """Read every file, or those one restore point needs, and check every byte."""
        from ps.admin.offline.reading import verify

        self._check()
        only = None if which is None else self._cursor(which)
        return verify(self.location, only, on_progress=_in_percent("verifying", on_progress))

    def inspect_fid(self, fid: int, table: str | None, *, at: str | None) -> list[InspectedRow]:
        """A fid as of a restore point, by default the newest."""
        from ps.store.inspect import inspect_fid

        return inspect_fid(self.location, self.commit(at), fid, table)

    def inspect_slot(
        self, slot: int, table: str | None, rows: int, *, at: str | None
    ) -> list[InspectedSlot]:
        """A slot as of a restore point, by default the newest."""
        from ps.store.inspect import inspect_slot

        return inspect_slot(self.location, self.commit(at), slot, table, rows=rows)

    def diff(self, before: str, after: str, *, on_progress: OnProgress) -> PointDiff:
        """What differs between two restore points."""
        from ps.store.diff import diff_points

        return diff_points(
            self.location,
            self.commit(before),
            self.commit(after),
            on_progress=_in_percent("comparing", on_progress),
        )

    def prune(
        self,
        keep_points: int | None,
        keep_age_s: float | None,
        keep_bytes: int | None,
        *,
        dry_run: bool,
    ) -> PruneReport:
        """Delete restore points beyond any limit given, and files that nothing needs."""
        from ps.admin.offline.prune import prune
        from ps.store.retention import RetentionPolicy

        self._check()
        policy = RetentionPolicy(keep_points, keep_age_s, keep_bytes)
        return prune(self.location, policy, dry_run=dry_run, clock=self.clock)

    def delete_snapshot(self, name: str, *, dry_run: bool) -> SnapshotDeletion:
        """Let a snapshot go: retention decides about its restore point. May be done beside a job.

        Raises NoRestorePointError.
        """
        from ps.store.names import snapshot_file
        from ps.store.snapshots import delete_snapshot

        self._check()
        pinned = Catalog(self.location).survey().pins.get(name)
        if dry_run:
            self.location.size(snapshot_file(name))
        else:
            delete_snapshot(self.location, name)
        return SnapshotDeletion(dry_run, name, None if pinned is None else pinned.epoch)

    def reshard(self, shards: int, *, dry_run: bool, on_progress: OnProgress) -> ReshardReport:
        """Cut the newest restore point into so many shards, as a new one."""
        from ps.admin.offline.reshard import reshard

        self._check()
        return reshard(
            self.location,
            lambda: self.commit(None),
            shards,
            dry_run=dry_run,
            clock=self.clock,
            on_progress=_in_percent("writing", on_progress),
        )

    def export(self, which: str, destination: str, *, on_progress: OnProgress) -> ExportReport:
        """Copy a restore point to a place of its own, and verify the copy."""
        from ps.admin.offline.export import copy_restore_point

        commit = self.commit(which)
        copy = type(self).at(destination, deadline_s=self.deadline_s)
        files, n_bytes = copy_restore_point(
            self.location, commit, copy.location, on_progress=_in_percent("copying", on_progress)
        )
        verified = copy.verify(None, on_progress=on_progress)
        for damaged in verified.damaged:
            raise CorruptFileError(copy.location.full_name(damaged.name), damaged.fault)
        return ExportReport(
            source=self.location.url,
            destination=copy.location.url,
            epoch=commit.at.epoch,
            generation=commit.at.generation,
            files=files,
            bytes=n_bytes,
        )

    def _check(self) -> None:
        """Raise SpecError where this is no store, and saying that it holds nothing would mislead."""
        try:
            identity = read_identity(self.location)
        except CorruptFileError:
            return  # what was a store still is one
        if identity is None and not self.location.list(COMMITS):
            raise SpecError(
                f"{self.location.url} is no store: {self.location.why_empty()}. Name a job's "
                "store, or HOST:PORT of a running job"
            )


def _in_percent(what: str, on_progress: OnProgress) -> Callable[[int, int], None]:
    def tell(done: int, total: int) -> None:
        on_progress(f"{what}, {done / max(total, 1):.0%}")

    return tell


def _is_elsewhere(holder: Holder) -> bool:
    """Whether its admin service listens on the loopback of another machine."""
    if holder.admin is None or holder.is_on_this_kernel():
        return False
    return is_loopback(host_of(holder.admin)) and holder.host != socket.gethostname()


def _ago(seconds: float) -> str:
    for unit, length_s in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return "a second" if round(seconds) == 1 else f"{seconds:.0f} seconds"
