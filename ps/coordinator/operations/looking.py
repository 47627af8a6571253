"""Looking at tables, rows and slots, wherever the shards are, and freeing what is overdue."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ps.buckets import bucket_of, even_shard_map
from ps.errors import ShardUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ps.admin.target import TableStatus
    from ps.coordinator.job import Job
    from ps.host.port import ShardPort
    from ps.inspected import InspectedRow, InspectedSlot

R = TypeVar("R")

_ANSWER_S = 60.0


def tables(job: Job) -> list[TableStatus]:
    """Every table, over all shards. Raises ShardUnavailableError."""
    by_shard = _ask_all(job, "tables", lambda port: port.tables())
    return [_one_table([mine[number] for mine in by_shard]) for number in range(len(by_shard[0]))]


def inspect_fid(job: Job, fid: int, table: str | None) -> list[InspectedRow]:
    """See AdminTarget. Raises UnknownTableError, SpecError, ShardUnavailableError."""
    bucket = int(bucket_of(np.array([fid], dtype=np.uint64))[0])
    shard = int(even_shard_map(job.shards)[bucket])
    led = job.leaders.of(shard)
    if led is None:
        raise ShardUnavailableError(f"shard {shard}", "it is being replaced")
    return led.seat.port.inspect_fid(fid, table)


def inspect_slot(job: Job, slot: int, table: str | None, rows: int) -> list[InspectedSlot]:
    """See AdminTarget. Raises UnknownTableError, SpecError, ShardUnavailableError."""
    by_shard = _ask_all(job, "inspect", lambda port: port.inspect_slot(slot, table, rows))
    return [
        _one_slot([mine[number] for mine in by_shard], rows) for number in range(len(by_shard[0]))
    ]


def expire(job: Job) -> dict[str, int]:
    """See AdminTarget. Raises ShardUnavailableError; then some shards may have freed theirs."""
    freed: dict[str, int] = {}
    for mine in _ask_all(job, "expire", lambda port: port.expire(job.term)):
        for table, rows in mine.items():
            freed[table] = freed.get(table, 0) + rows
    return freed


def _ask_all(job: Job, what: str, ask: Callable[[ShardPort], R]) -> list[R]:
    led = job.leaders.all()
    if len(led) < job.shards:
        missing = [shard for shard in range(job.shards) if shard not in led]
        raise ShardUnavailableError(f"shard {missing[0]}", "it is being replaced")
    answers = job.fanout.each(what, led, lambda _, one: ask(one.seat.port), _ANSWER_S)
    answers.raise_first()
    return [answers.results[shard] for shard in sorted(led)]


def _one_table(parts: Sequence[TableStatus]) -> TableStatus:
    first = parts[0]
    capacities = [part.capacity_rows for part in parts if part.capacity_rows is not None]
    return replace(
        first,
        rows=sum(part.rows for part in parts),
        rows_by_shard=[rows for part in parts for rows in part.rows_by_shard],
        capacity_rows=sum(capacities) if capacities else None,
        rows_admitted=sum(part.rows_admitted for part in parts),
        rows_expired=sum(part.rows_expired for part in parts),
        rows_evicted=sum(part.rows_evicted for part in parts),
        occurrences_refused=sum(part.occurrences_refused for part in parts),
        allocated_bytes=sum(part.allocated_bytes for part in parts),
    )


def _one_slot(parts: Sequence[InspectedSlot], rows: int) -> InspectedSlot:
    examples = [row for part in parts for row in part.examples]
    # By fid where they were last seen together, so that asking again gives the same.
    latest = sorted(examples, key=lambda row: (-(row.last_seen_s or 0), row.fid))[:rows]
    return replace(
        parts[0],
        rows=sum(part.rows for part in parts),
        oldest_seen_s=_seen(min, [part.oldest_seen_s for part in parts]),
        newest_seen_s=_seen(max, [part.newest_seen_s for part in parts]),
        examples=latest,
    )


def _seen(of: Callable[[Sequence[int]], int], seconds: Sequence[int | None]) -> int | None:
    known = [one for one in seconds if one is not None]
    return of(known) if known else None
