"""Resharding a store where nothing runs: a new restore point of another number of bases."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ps.admin.offline.writing import claimed
from ps.admin.target import ReshardReport
from ps.block import Cursor
from ps.store.catalog import Catalog
from ps.store.commit_codec import encode_commit
from ps.store.names import commit_name
from ps.store.reshard import reshard_bases

if TYPE_CHECKING:
    from collections.abc import Callable

    from ps.clock import Clock
    from ps.store.commit import Commit
    from ps.store.location import Location

# As a job's compaction is given.
_MEMORY_BYTES = 512 << 20


def reshard(
    location: Location,
    newest_whole: Callable[[], Commit],
    shards: int,
    *,
    dry_run: bool,
    clock: Clock,
    on_progress: Callable[[int, int], None],
) -> ReshardReport:
    """Make a restore point of the same rows, cut into so many shards:

    1. become the store's writer
    2. write the new bases, at an epoch that no file has yet
    3. make sure that nobody has taken over meanwhile
    4. write the commit that names them; the next start goes on from it

    newest_whole: reads what there is to cut. A crash before 4 leaves bases that nobody names, which pruning removes. Raises SpecError,
    StoreInUseError, FencedError, StoreUnavailableError, and what reading the store raises.
    """
    began_s = clock.monotonic_s()
    newest = Catalog(location).newest_cursor()
    if dry_run:
        at = Cursor(newest.epoch + 1, newest.generation + 1)
        return _report(newest_whole(), shards, at, 0.0, dry_run=True)
    with claimed(location, "reshard", above=newest.generation) as claim:  # 1
        commit = newest_whole()
        at = Cursor(Catalog(location).newest_cursor().epoch + 1, claim.generation)

        def on_bytes(done: int, total: int) -> None:
            claim.renew()
            on_progress(done, total)

        chains, written = reshard_bases(  # 2
            location, commit, shards, at, memory_bytes=_MEMORY_BYTES, on_progress=on_bytes
        )
        claim.check()  # 3
        made = replace(
            commit, at=at, shards=chains, created_us=clock.now_us(), bytes_written=written
        )
        location.write(commit_name(at), [encode_commit(made)])  # 4
    return _report(commit, shards, at, clock.monotonic_s() - began_s, dry_run=False)


def _report(
    commit: Commit, shards: int, at: Cursor, seconds: float, *, dry_run: bool
) -> ReshardReport:
    return ReshardReport(
        dry_run=dry_run,
        shards_before=len(commit.shards),
        shards_after=shards,
        epoch=at.epoch,
        generation=at.generation,
        rows=sum(commit.rows.values()),
        seconds=seconds,
    )
