"""Looking into a restore point where nothing runs: one fid, or one slot. Loads no kernels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from ps.errors import UnknownTableError
from ps.inspected import InspectedRow, InspectedSlot
from ps.store.admission_count import occurrences
from ps.store.rows import buckets_of
from ps.store.window import PointReader, windows

if TYPE_CHECKING:
    from ps.block import TableDelta
    from ps.store.commit import Commit
    from ps.store.description import TableDescription
    from ps.store.location import Location

_SLOT_BITS = 48
_MICROSECONDS = 1_000_000
_DEFAULT_MEMORY_BYTES = 256 << 20
# A slot's settings stand in the commit in words (ps.store.description); these two are needed.
_TTL = re.compile(r"\bkept (\d+) s\b")
_COUNTS = re.compile(r"\badmitted after \d+ occurrences\b")
_ADMITS_ALL = "all admitted"


def inspect_fid(
    location: Location, commit: Commit, fid: int, table: str | None = None
) -> list[InspectedRow]:
    """A fid in every table whose slots it is one of, or in the one named.

    Of the base only the section is read in which the fid would be, and the blocks after it. A row
    that was overdue is not present. Without a row, weights are zeros where a pull would say zeros,
    and empty where it would draw them (which takes a running job, or its kernels).

    Raises UnknownTableError, and what reading the files raises (ps.store.window).
    """
    reader = PointReader(location, commit)
    bucket = int(buckets_of(np.array([fid], dtype=np.uint64))[0])
    names = _tables_of(commit, fid >> _SLOT_BITS, table)
    rows = reader.rows(bucket, bucket + 1, names)
    found = []
    for name in names:
        places = np.flatnonzero(rows[name].fids == fid).tolist() if name in rows else []
        place = places[0] if places else None
        found.append(_row(reader, commit, name, fid, rows.get(name), place))
    return found


def inspect_slot(
    location: Location,
    commit: Commit,
    slot: int,
    table: str | None = None,
    *,
    rows: int = 10,
    memory_bytes: int = _DEFAULT_MEMORY_BYTES,
) -> list[InspectedSlot]:
    """A slot in every table that has it, or in the one named, with up to `rows` rows last seen.

    Reads everything, in windows of about memory_bytes. Raises what inspect_fid() raises.
    """
    reader = PointReader(location, commit)
    names = _tables_of(commit, slot, table)
    counts = dict.fromkeys(names, 0)
    seen: dict[str, list[int]] = {name: [] for name in names}
    latest: dict[str, list[InspectedRow]] = {name: [] for name in names}
    for window in windows(3 * reader.size_bytes(), memory_bytes):
        for name, held in reader.rows(*window, names).items():
            places = np.flatnonzero(held.fids >> np.uint64(_SLOT_BITS) == slot)
            alive = places[_alive(reader, commit, name, slot, held)[places]]
            if alive.size == 0:
                continue
            counts[name] += alive.size
            last_seen_s = held.last_seen_s[alive]
            seen[name] += [int(last_seen_s.min()), int(last_seen_s.max())]
            newest = np.lexsort((held.fids[alive], -last_seen_s.astype(np.int64)))[:rows]
            latest[name] += [
                _row(reader, commit, name, int(held.fids[at]), held, int(at))
                for at in alive[newest].tolist()
            ]
            # By fid where they were last seen together, so that asking again gives the same.
            latest[name].sort(key=lambda row: (-(row.last_seen_s or 0), row.fid))
            del latest[name][rows:]
    return [
        InspectedSlot(
            table=name,
            slot=slot,
            settings=_settings(commit, name, slot) or "no settings of its own",
            rows=counts[name],
            oldest_seen_s=min(seen[name], default=None),
            newest_seen_s=max(seen[name], default=None),
            examples=latest[name],
        )
        for name in names
    ]


def _tables_of(commit: Commit, slot: int, table: str | None) -> list[str]:
    tables = commit.description.tables
    if table is None:
        return sorted(name for name, described in tables.items() if slot in described.slots)
    if table not in tables:
        raise UnknownTableError(table, sorted(tables))
    return [table]


def _settings(commit: Commit, table: str, slot: int) -> str:
    return commit.description.tables[table].slots.get(slot, "")


def _ttl_s(commit: Commit, table: str, slot: int) -> int | None:
    found = _TTL.search(_settings(commit, table, slot))
    return None if found is None else int(found[1])


def _alive(
    reader: PointReader, commit: Commit, table: str, slot: int, rows: TableDelta
) -> np.ndarray:
    """Which rows, taken for rows of the slot, are not overdue by their shard's event clock: bool[n]."""
    ttl_s = _ttl_s(commit, table, slot)
    alive = np.ones(rows.fids.size, dtype=np.bool_)
    if ttl_s is not None:
        buckets = buckets_of(rows.fids)
        for shard, (_, own) in enumerate(reader.chains):
            here = (buckets >= own.first) & (buckets < own.end)
            if here.any():
                expire_s = rows.last_seen_s[here].astype(np.int64) + ttl_s
                alive[here] = expire_s >= _clock_s(reader, shard)
    return alive


def _clock_s(reader: PointReader, shard: int) -> int:
    head = reader.head(shard)
    return 0 if head is None else head.event_ts_us // _MICROSECONDS


def _row(
    reader: PointReader,
    commit: Commit,
    table: str,
    fid: int,
    rows: TableDelta | None,
    place: int | None,
) -> InspectedRow:
    """What is known of a fid that stands at a place among rows, or has none."""
    slot = fid >> _SLOT_BITS
    bucket = int(buckets_of(np.array([fid], dtype=np.uint64))[0])
    shard = reader.shard_of(bucket)
    head = reader.head(shard)
    ttl_s = _ttl_s(commit, table, slot)
    counted = None
    if (
        head is not None
        and table in head.filters
        and _COUNTS.search(_settings(commit, table, slot))
    ):
        counted = occurrences(head.filters[table], fid)
    last_seen_s = None
    if rows is not None and place is not None:
        last_seen_s = int(rows.last_seen_s[place])
        if ttl_s is not None and last_seen_s + ttl_s < _clock_s(reader, shard):
            last_seen_s = None
    present = rows is not None and place is not None and last_seen_s is not None
    described = commit.description.tables[table]
    return InspectedRow(
        table=table,
        fid=fid,
        slot=slot,
        shard=shard,
        bucket=bucket,
        present=present,
        last_seen_s=last_seen_s,
        expires_s=None if last_seen_s is None or ttl_s is None else last_seen_s + ttl_s,
        weights=rows.weights[place].tolist()
        if rows is not None and present
        else _unseen(described, slot),
        state=rows.state[place].tolist() if rows is not None and present else [],
        occurrences=counted,
    )


def _unseen(described: TableDescription, slot: int) -> list[float]:
    """What a fid without a row reads as, where that takes no drawing."""
    reads_zero = described.initializer == "zeros" or (
        _ADMITS_ALL not in described.slots.get(slot, _ADMITS_ALL)
    )
    return [0.0] * described.width if reads_zero else []
